"""Calibrated uncertainty: what 1 % of held-back frames exceed, whatever the scale, and what lies outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import InputError
from forcewright.uncertainty import Calibration, Span, calibrate, calibration_of, judge, uncertainty_of


def known(frames: list[np.ndarray], **more: Any) -> Calibration:
    found = calibrate(frames, measure="extrapolation grade", unit="", source="5 folds in turn", **more)
    assert found is not None
    return found


@pytest.mark.parametrize(("frames", "scale"), [(40, 1.0), (150, 7.0), (500, 0.01)])
def test_of_further_frames_one_in_a_hundred_is_outside(frames: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        draws = scale * np.exp(0.3 * rng.normal(size=(frames, 10)))
        limit = known(list(draws)).limit
        shares.append(np.mean(scale * np.exp(0.3 * rng.normal(size=(400, 10))).max(axis=1) > limit))
    assert 0.002 < np.mean(shares) < 0.015  # the promise of conformal prediction is an average over calibrations


def test_a_larger_frame_is_allowed_what_more_atoms_reach_by_chance() -> None:
    rng = np.random.default_rng(1)
    calibration = known(list(rng.pareto(5.0, size=(400, 20)) + 1.0))  # a tail of exponent 1/5
    assert calibration.tail == pytest.approx(0.2, abs=0.03)
    assert calibration.limit_of(20) == calibration.limit == calibration.limit_of(5)
    large = (rng.pareto(5.0, size=(300, 640)) + 1.0).max(axis=1)
    assert np.mean(large > calibration.limit) > 0.1 > 0.04 > np.mean(large > calibration.limit_of(640))


def test_few_frames_and_frames_of_unknown_elements_say_nothing() -> None:
    assert calibrate([np.ones(3)] * 7, measure="", unit="", source="") is None
    frames = [np.ones(3)] * 20 + [np.array([np.inf, 1.0])]
    assert known(frames).frames == 20


def test_a_calibration_survives_json_and_refuses_nonsense() -> None:
    spans = {"O": Span(1000, 300, 61, 239), "H": Span(4000, 300, 102, 300)}
    calibration = known([np.arange(1.0, 4.0)] * 30, spans=spans)
    stored = json.loads(json.dumps(calibration.to_dict()))
    assert Calibration.from_dict(stored) == calibration
    warning = calibration.warnings()
    assert len(warning) == 1 and "239 of 300 (O)" in warning[0] and "(H)" not in warning[0]
    for key, value in (("limit", float("nan")), ("frames", 0), ("tail", "x"), ("atom_quantiles", {"50": -1.0})):
        with pytest.raises((ValueError, TypeError)):
            Calibration.from_dict({**stored, key: value})


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fits of two families to copper of Lennard-Jones like forces, and structures like and unlike it."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    def cells(count: int, spread: float, seed: int, stretch: float = 1.0) -> list[Any]:
        rng = np.random.default_rng(seed)
        made = []
        for _ in range(count):
            atoms = bulk("Cu", cubic=True)
            atoms.set_cell(atoms.cell * stretch * (1.0 + 0.02 * rng.normal()), scale_atoms=True)
            atoms.positions += spread * rng.normal(size=(4, 3))
            atoms.calc = EMT()
            atoms.get_forces()
            made.append(atoms)
        return made

    train = cells(40, 0.08, 0)
    models = {
        "snap": {"kind": "snap", "twojmax": 4},
        "ace": {"kind": "ace", "functions": 25, "rcut": 4.5, "radial": "ChebExpCos"},
    }
    study = {"reference_energies": "zero", "weights": {"energy": 100, "force": 1}, "ridge": 1e-8}
    folder = tmp_path_factory.mktemp("saved")
    fitted = {kind: fw.fit(train, model=model, test=cells(12, 0.08, 7), **study) for kind, model in models.items()}
    for kind, result in fitted.items():
        result.potential.save(folder / kind)
    return {"results": fitted, "folder": folder, "inside": cells(60, 0.08, 8), "outside": cells(10, 0.4, 9, 0.85)}


@pytest.mark.parametrize("kind", ["snap", "ace"])
def test_a_fit_keeps_what_tells_inside_from_outside(fits: dict[str, Any], kind: str) -> None:
    result = fits["results"][kind]
    loaded = fw.load(fits["folder"] / kind)
    uncertainty = uncertainty_of(loaded)
    assert uncertainty is not None and uncertainty.calibration == calibration_of(result.potential)
    assert uncertainty.calibration is not None and uncertainty.calibration.frames == 40
    for name, low, high in (("inside", 0.0, 0.1), ("outside", 1.0, 1.0)):
        structures = fw.Dataset.from_ase(fits[name]).structures
        assert low <= np.mean([judge(uncertainty, s).is_outside for s in structures]) <= high, name
        np.testing.assert_array_equal(
            loaded.extrapolation_grades(structures[0]), result.potential.extrapolation_grades(structures[0])
        )
    summary = result.summary["extrapolation"]
    assert summary["calibration"]["limit"] == uncertainty.calibration.limit and summary["frames"] == 12


def test_descriptors_of_atoms_sum_to_the_row_of_the_energy(fits: dict[str, Any]) -> None:
    from ase.build import bulk

    from forcewright.features.bispectrum import Bispectrum
    from forcewright.structure import Structure

    atoms = bulk("NaCl", "rocksalt", a=5.0, cubic=True)
    atoms.rattle(0.2, seed=0)
    structure = Structure.from_ase(atoms)
    basis = Bispectrum((11, 17), twojmax=3, rcut=4.0, quadratic=True, weights=(1.0, 0.7))
    values = basis.environments(structure)
    sums = np.concatenate([values[structure.numbers == z].sum(axis=0) for z in (11, 17)])
    np.testing.assert_allclose(sums, basis.rows(structure).energy, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["snap", "ace"])
def test_predict_says_which_frames_are_outside(fits: dict[str, Any], kind: str, tmp_path: Path) -> None:
    fw.write(fw.Dataset.from_ase([*fits["inside"][:3], *fits["outside"]]), tmp_path / "mixed.extxyz")
    predicted = fw.predict(fits["folder"] / kind, tmp_path / "mixed.extxyz")
    assert predicted.extrapolation is not None and predicted.extrapolation.outside >= 10
    text = predicted.extrapolation.text()
    assert "10 of 13 frames (76.9 %) are outside what the potential was fitted to" in text
    assert text.count("mixed.extxyz, frame ") == 10 and "frame 12, atom " in text and "(Cu)" in text


def test_a_test_set_outside_is_a_warning_by_group(fits: dict[str, Any]) -> None:
    from forcewright.recipes.extrapolation import summary_of

    frames = [*fits["inside"][:30], *fits["outside"]]
    for atoms in frames[:30]:
        atoms.info["config_type"] = "warm"
    for atoms in frames[30:]:
        atoms.info["config_type"] = "squeezed"
    summary = summary_of(fits["results"]["ace"].potential, fw.Dataset.from_ase(frames), "test")
    assert summary is not None
    warning = summary["warnings"][-1]
    assert "squeezed (10 of 10 frames)" in warning and "warm" not in warning


def test_a_potential_without_calibration_works_and_says_so(fits: dict[str, Any]) -> None:
    from dataclasses import replace

    bare = replace(fits["results"]["ace"].potential, provenance={})
    predicted = fw.predict(bare, fits["outside"])
    assert predicted.extrapolation is not None and predicted.extrapolation.outside == 0
    assert "saved without their quantiles" in predicted.extrapolation.text()
    damaged = replace(bare, provenance={"uncertainty": {"limit": "high"}})
    with pytest.raises(InputError, match="calibration of its uncertainty is damaged"):
        fw.predict(damaged, fits["outside"])


@pytest.mark.parametrize("factor", [10.0, "warn", "off"])
def test_a_simulation_watches_and_stops_where_it_is_asked_to(fits: dict[str, Any], factor: Any, tmp_path: Path) -> None:
    start = fits["outside"][0].copy()
    fw.write(fw.Dataset.from_ase([start]), tmp_path / "start.extxyz")
    result = fw.simulate(
        {
            "potential": str(fits["folder"] / "ace"), "structure": str(tmp_path / "start.extxyz"),
            "stages": [{"ensemble": "nvt", "thermostat": "langevin", "temperature_K": 300, "time_ps": 0.004, "timestep_fs": 1.0}],
            "monitors": {
                "extrapolation_factor": factor, "force_eV_per_A": None, "temperature_factor": None,
                "closest_fraction": None, "volume_factor": None, "pair_distance": "off",
            },
            "trajectory": {"every_fs": 2.0}, "output": str(tmp_path / "run"),
        }
    )  # fmt: skip
    folder = result.folder
    if factor == "off":
        assert result.completed and not (folder / "extrapolation.csv").exists() and not result.notes
        return
    assert result.completed == (factor == "warn")
    assert "lie outside what the potential was fitted to" in result.notes[0]
    rows = (folder / "extrapolation.csv").read_text().splitlines()
    assert rows[0] == "step,time_ps,largest,limit,atom" and len(rows) == (3 if factor == "warn" else 2)
    np.testing.assert_allclose(
        fw.read(folder / "first_outside.extxyz").structures[0].positions, start.positions, atol=1e-7
    )
    page = (folder / "report.html").read_text()
    assert "Extrapolation" in page and "Nearest neighbors of atom" in page
    if factor == 10.0:
        assert result.alarm is not None and result.alarm.monitor == "extrapolation_factor"
        assert "times the limit of" in result.reason and result.steps == 0


def test_uncertainties_of_a_family_with_a_fit_of_its_own_travel_with_its_predictions(tmp_path: Path) -> None:
    from forcewright.fitting.family_fit import load_predictions, load_uncertainties, save_predictions
    from forcewright.potential import Prediction

    known = [np.array([0.1, 0.2]), np.array([0.3]), np.zeros(0)]
    path = save_predictions(tmp_path / "some.npz", [Prediction(1.0)] * 3, known)
    assert [values.tolist() for values in load_uncertainties(path)] == [[0.1, 0.2], [0.3], []]
    assert [p.energy for p in load_predictions(path)] == [1.0] * 3
    assert load_uncertainties(save_predictions(tmp_path / "none.npz", [Prediction(1.0)])) == []
