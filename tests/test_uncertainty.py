"""Calibrated uncertainty: what 1 % of held-back frames exceed, whatever the scale, and what lies outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import InputError
from forcewright.uncertainty import (
    KINDS,
    Calibration,
    Span,
    calibrate,
    calibration_of,
    judge,
    kinds_of,
    reliability,
    uncertainty_of,
)


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
    study = {
        "reference_energies": "zero", "weights": {"energy": 100, "force": 1}, "ridge": 1e-8, "committee": 6,
        "uncertainty": ["standard_error", "distance", "rematch"],
    }  # fmt: skip
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


def test_errors_are_told_by_uncertainties_of_their_size() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    sigma = np.exp(0.5 * rng.normal(size=20_000))
    errors = np.linalg.norm(sigma[:, None] / np.sqrt(3.0) * rng.normal(size=(20_000, 3)), axis=1)
    for factor in (1.0, 0.01):
        told = reliability(factor * sigma, errors)
        assert told is not None
        assert told.scale == pytest.approx(1.0 / factor, rel=0.02) and told.miscalibration_area < 0.01
        assert told.coverage == pytest.approx({"68": 0.68, "95": 0.95}, abs=0.01)
        assert told.spearman == pytest.approx(spearmanr(sigma, errors).statistic, abs=1e-3)
        np.testing.assert_allclose([error / u for u, error in told.curve[2:8]], 1.0 / factor, rtol=0.1)
    blind = reliability(rng.permutation(sigma), errors)
    assert blind is not None and abs(blind.spearman) < 0.02
    assert reliability(np.ones(500), errors[:500]) is None  # the same for all atoms tells nothing


@pytest.mark.parametrize("kind", ["snap", "ace"])
def test_a_fit_knows_every_kind_it_was_asked_for(fits: dict[str, Any], kind: str) -> None:
    result, loaded = fits["results"][kind], fw.load(fits["folder"] / kind)
    assert kinds_of(loaded) == kinds_of(result.potential) == tuple(k for k in KINDS if k != "variance")
    inside, outside = (fw.Dataset.from_ase(fits[name][:20]).structures for name in ("inside", "outside"))
    assert set(result.summary["uncertainties"]) == set(kinds_of(loaded))
    for name in kinds_of(loaded):
        known = uncertainty_of(loaded, name)
        assert known is not None and known.calibration is not None and known.calibration.reliability is not None
        assert np.mean([judge(known, s).is_outside for s in inside]) < 0.15, name
        of_others = np.mean([known.of(s).max() for s in outside]) / np.mean([known.of(s).max() for s in inside])
        assert of_others > 4.0, name
        again = uncertainty_of(result.potential, name)
        assert again is not None
        np.testing.assert_allclose(known.of(inside[0]), again.of(inside[0]), rtol=1e-5)
    with pytest.raises(InputError, match=r"variance, which this potential does not know.*it knows grade, committee"):
        uncertainty_of(loaded, "variance")


def test_standard_errors_are_the_spread_of_draws_from_the_posterior(fits: dict[str, Any]) -> None:
    potential = fits["results"]["ace"].potential
    structure = fw.Dataset.from_ase(fits["inside"]).structures[0]
    known = uncertainty_of(potential, "standard_error")
    assert known is not None
    rng = np.random.default_rng(5)
    energies = dict.fromkeys(potential.species, 0.0)
    draws = rng.multivariate_normal(potential.coefficients, potential.posterior, size=100, method="eigh")
    forces = [potential.with_coefficients(c, energies).predict([structure])[0].forces for c in draws]
    np.testing.assert_allclose(known.of(structure), np.sqrt(np.var(forces, axis=0).sum(axis=1)), rtol=0.25)


def test_a_committee_in_the_potential_spreads_as_its_members_do(fits: dict[str, Any]) -> None:
    result = fits["results"]["snap"]
    structures = fw.Dataset.from_ase(fits["outside"]).structures[:2]
    known = uncertainty_of(result.potential, "committee")
    assert known is not None and result.committee is not None and len(result.committee) == 6
    for structure, spread in zip(structures, result.committee.spread(structures), strict=True):
        np.testing.assert_allclose(known.of(structure), spread.forces, rtol=1e-8)


def test_a_distance_is_zero_where_the_potential_was_fitted_and_infinite_for_unknown_elements(
    fits: dict[str, Any],
) -> None:
    from forcewright.descriptors.environments import basis_for, describe, environments_of
    from forcewright.structure import Structure

    structures = fw.Dataset.from_ase(fits["inside"][:6]).structures
    basis = basis_for((29,), 4.5)
    known = environments_of(basis, [describe(basis, s, (29,)) for s in structures])
    np.testing.assert_allclose(known.distances(structures[2]), 0.0, atol=1e-6)
    turned = structures[2].positions[[1, 0, 3, 2]] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].T
    cell = structures[2].cell @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].T
    same = Structure(structures[2].numbers, turned, cell, structures[2].pbc)
    np.testing.assert_allclose(known.distances(same), 0.0, atol=1e-6)
    mixed = Structure(np.array([29, 28, 29, 29]), structures[2].positions, structures[2].cell, structures[2].pbc)
    assert np.isinf(known.distances(mixed)[1]) and np.isfinite(known.distances(mixed)[[0, 2, 3]]).all()


def test_a_rematch_distance_is_that_of_the_kernel_to_the_nearest_structure(fits: dict[str, Any]) -> None:
    from forcewright.descriptors.kernels import StructureKernel
    from forcewright.descriptors.known_structures import KnownStructures
    from forcewright.structure import Structure

    structures = fw.Dataset.from_ase(fits["inside"][:5]).structures
    stored = KnownStructures.of((29,), 4.5, structures[:4]).to_arrays()
    stored["rows"] = stored["rows"].astype(np.float64)
    known = KnownStructures.from_arrays(stored)
    rows = [known.describe(structure) for structure in structures]
    expected = StructureKernel("rematch").distances(rows)
    np.testing.assert_allclose(known.distances(structures[4]), expected[4, :4].min(), atol=1e-4)
    folds = np.array([0, 0, 1, 1])
    among = [expected[0, 2:4].min(), expected[1, 2:4].min(), expected[2, :2].min(), expected[3, :2].min()]
    np.testing.assert_allclose(known.distances_to_others(folds), among, atol=1e-4)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].T
    s = structures[2]
    same = Structure(s.numbers, s.positions[[1, 0, 3, 2]] @ turn, s.cell @ turn, s.pbc)
    np.testing.assert_allclose(known.distances(same), 0.0, atol=1e-4)
    assert np.isinf(known.distances(Structure(np.array([29, 28, 29, 29]), s.positions, s.cell, s.pbc))).all()
    for damage in ({"atoms": np.array([4, 4])}, {"rows": stored["rows"][:, 1:]}, {"atoms": np.zeros(0)}):
        with pytest.raises((ValueError, KeyError)):
            KnownStructures.from_arrays({**stored, **damage})


def test_every_kind_serves_selection_prediction_and_monitors(fits: dict[str, Any], tmp_path: Path) -> None:
    from forcewright.simulation import RunSettings, Stage, run

    frames = [*fits["inside"][:5], *fits["outside"][:2]]
    folder = fits["folder"] / "snap"
    for kind in ("committee", "standard_error", "distance", "rematch"):
        chosen = fw.select(frames, by="novelty", count=2, potential=folder, options={"kind": kind})
        assert {float(frame.structure.volume) for frame in chosen} == {a.get_volume() for a in frames[5:]}
        predicted = fw.predict(folder, frames, tmp_path / f"{kind}.extxyz", uncertainty=kind)
        assert predicted.extrapolation is not None and predicted.extrapolation.outside >= 1
        stored = fw.read(tmp_path / f"{kind}.extxyz").labels[0].info
        assert stored["forcewright_uncertainty_kind"] == kind
        stage = Stage(ensemble="nvt", time_ps=0.06, temperature_K=100)
        settings = RunSettings.model_validate(
            {"monitors": {"uncertainty": kind, "every_fs": 10}, "trajectory": {"every_fs": 20}}
        )
        force_field = fw.recipes.force_fields.force_field(folder, tmp_path)
        result = run(force_field, frames[0], [stage], tmp_path / kind, settings=settings)
        assert result.completed and (tmp_path / kind / "extrapolation.csv").read_text().count("\n") == 4
    with pytest.raises(InputError, match="variance"):
        run(
            force_field, frames[0], [stage], tmp_path / "none",
            settings=settings.model_copy(update={"monitors": settings.monitors.model_copy(update={"uncertainty": "variance"})}),
        )  # fmt: skip
