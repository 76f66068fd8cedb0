from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.morse import MorsePotential

import forcewright as fw
from forcewright.errors import InputError
from forcewright.fitting.settings import FitSettings, StabilitySettings
from forcewright.force_field import ForceField
from forcewright.neighbors import find_neighbors
from forcewright.potential import PotentialBase, Prediction
from forcewright.recipes import stability
from forcewright.report import draw_stability
from forcewright.simulation import Stage
from forcewright.stability import probe
from forcewright.stability.dynamics import MOST_ATOMS, _cut_out, _has_vacuum, _start
from forcewright.structure import Dataset, Structure


class Morse(PotentialBase):
    """Morse's pairs, with a Gaussian hole of a depth in eV at 1.2 Å."""

    species = (29,)
    cutoff = 4.6

    def __init__(self, depth: float = 0.0) -> None:
        self.depth = depth

    def predict_structures(self, structures: Any, forces: bool, stress: bool) -> list[Prediction]:
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> Prediction:
        pairs = find_neighbors(structure, self.cutoff)
        d, r = pairs.distances, pairs.vectors
        rise = np.exp(-3.9 * (d / 2.6 - 1))
        hole = -self.depth * np.exp(-(((d - 1.2) / 0.3) ** 2))
        slope = 1.2 * (3.9 / 2.6) * (rise - rise**2) - hole * 2 * (d - 1.2) / 0.09
        along = slope[:, None] * r / d[:, None]
        forces = np.zeros((len(structure), 3))
        np.add.at(forces, pairs.centers, along)
        tensor = 0.5 * r.T @ along / structure.volume if structure.volume > 0 else None
        return Prediction(0.5 * float((0.6 * (rise**2 - 2 * rise) + hole).sum()), forces, tensor)

    def save(self, folder: Any) -> Any:
        raise NotImplementedError


def crystals(count: int = 6) -> Dataset:
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True, a=3.55) * (2, 1, 1)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = MorsePotential(epsilon=0.6, r0=2.6, rho0=3.9, rcut1=3.8, rcut2=4.6)
        atoms.get_potential_energy()
        frames.append(atoms)
    return Dataset.from_ase(frames, "cu")


SHORT = StabilitySettings(runs=2, time_ps=0.01, packings=2, budget_s=300)


def test_a_sound_potential_has_no_hole_and_a_hole_is_found_where_it_is() -> None:
    data = crystals()
    sound = probe(Morse(), data, SHORT, 0, 1.0)
    assert not sound.holes and not sound.cut and not sound.problem
    assert [row["ensemble"] for row in sound.runs] == ["nvt", "npt"] and all(row["survived"] for row in sound.runs)
    assert [row["temperature_K"] for row in sound.runs] == [1500.0, 1000.0] and sound.to_dict()["temperature_defaulted"]
    few = SHORT.model_copy(update={"runs": 0})
    holed = probe(Morse(60.0), data, few, 0, 1.0)
    pair = holed.holes[0]
    assert pair.probe == "dimer" and pair.text.startswith("Cu–Cu, \N{MINUS SIGN}")
    depth, where = (float(word) for word in pair.text.replace("\N{MINUS SIGN}", "-").split()[1::3][:2])
    r = np.arange(0.9, 1.7, 0.001)
    morse = 0.6 * (np.exp(-2 * 3.9 * (r / 2.6 - 1)) - 2 * np.exp(-3.9 * (r / 2.6 - 1)))
    total = morse - 60.0 * np.exp(-(((r - 1.2) / 0.3) ** 2))
    assert where == pytest.approx(r[total.argmin()], abs=0.03) and depth == pytest.approx(total.min(), abs=0.2)
    assert {hole.probe for hole in holed.holes} >= {"dimer", "packing"}
    assert any(hole.structure is not None for hole in holed.holes)
    content = {"status": "probed", **holed.to_dict()}
    assert stability.warnings(content)[0] == f"hole: {pair.text}"
    assert any("packings; first" in sentence for sentence in stability.warnings(content))
    pictures = sum(hole["structure"] is not None for hole in content["holes"])
    assert len(draw_stability({"curves": content["curves"], "holes": content["holes"]})) == 1 + pictures
    again = probe(Morse(60.0), data, few, 0, 1.0)
    assert [hole.text for hole in again.holes] == [hole.text for hole in holed.holes]


def test_what_the_time_does_not_suffice_for_is_named() -> None:
    probed = probe(Morse(), crystals(2), SHORT.model_copy(update={"budget_s": 1e-9}), 0, 1.0)
    assert probed.cut == ["pairs Cu-Cu", "2 of 2 packings", "2 of 2 runs of dynamics"]
    assert probe(Morse(), crystals(2), StabilitySettings(runs=0, packings=0), 0, 1e4).budget_s == pytest.approx(1e3)
    assert probe(Morse(), crystals(2), StabilitySettings(runs=0, packings=0), 0, 10.0).budget_s == 60.0


def test_runs_start_from_few_whole_molecules() -> None:
    rng = np.random.default_rng(0)
    water = molecule("H2O")
    box = Atoms(cell=[15.0] * 3, pbc=True)
    for k in range(30):
        copy = water.copy()
        copy.translate(3.0 * np.array([k % 5, k // 5 % 5, k // 25]))
        box += copy
    box.wrap()
    cut = _cut_out(Structure.from_ase(box), rng)
    assert len(cut) <= MOST_ATOMS and len(cut) % 3 == 0 and not cut.pbc.any()
    distances = cut.to_ase().get_all_distances()
    oxygen, hydrogen = np.flatnonzero(cut.numbers == 8), np.flatnonzero(cut.numbers == 1)
    assert 2 * len(oxygen) == len(hydrogen)
    assert np.all(np.sort(distances[np.ix_(hydrogen, oxygen)], axis=1)[:, 0] < 1.0)  # no molecule is torn apart
    assert 32 < len(_start(Structure.from_ase(bulk("Cu")), rng)) <= MOST_ATOMS
    slab = bulk("Cu", cubic=True) * (1, 1, 2)
    assert not _has_vacuum(Structure.from_ase(slab))
    slab.center(vacuum=4.0, axis=2)
    assert _has_vacuum(Structure.from_ase(slab))


def test_off_as_yaml_has_it() -> None:
    settings = FitSettings.model_validate({"model": {"kind": "snap"}, "stability": False, "short_range": False})
    assert settings.stability == "off" and settings.short_range == "off"
    text = stability.sections({"stability": {"status": "off"}, "short_range": None})[0][1]
    assert "not probed for holes: stability is off" in text


@dataclass
class Remembering(Morse):
    """A potential that remembers what probing found."""

    provenance: dict[str, Any] = field(default_factory=dict)
    depth: float = 0.0


def test_before_a_run_stands_what_probing_lets_expect_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    each = [{"survived": k % 3 > 0, "temperature_K": (1500.0, 1000.0)[k % 2]} for k in range(6)]
    hole = {"probe": "dynamics", "text": "the NVT run of Cu8 at 1500 K ends"}
    found = {"status": "probed", "holes": [hole], "runs": {"done": 6, "each": each}, "packings": {"done": 0}}
    potential = stability.with_stability(Remembering(), found)
    counted = "2 of 3 runs survived"

    def said(*kelvin: float | tuple[float, float]) -> str:
        stages = [Stage(ensemble="nvt", temperature_K=t, time_ps=1, timestep_fs=1) for t in kelvin]
        return stability.before_a_run(potential, [Stage(ensemble="relax"), *stages])

    hot, cool = said((300, 1200)), said(300, 400)
    assert f"{counted} at 1000 K, {counted} at 1500 K, so that this run at 1200 K is not expected to last" in hot
    assert "whether a run at 400 K lasts, nobody has probed (stability: {temperature_K: 400}" in cool
    assert said() and "survived" not in said()  # a relaxation
    nothing = {**found, "holes": [], "runs": {"done": 0, "each": []}}
    assert not stability.before_a_run(stability.with_stability(Remembering(), nothing), [])
    assert not stability.before_a_run(Remembering(), []) and not stability.before_a_run(None, [])
    damaged = Remembering(provenance={"stability": {"runs": [{}], "holes": []}})
    with pytest.raises(InputError, match="damaged"):
        stability.before_a_run(damaged, [])

    source = ForceField("m", Morse().calculator, "m", (29,), potential)
    monkeypatch.setattr("forcewright.recipes.simulate.force_field", lambda *_: source)
    stages = [{"ensemble": "nvt", "temperature_K": 1200, "time_ps": 0.002, "timestep_fs": 1}]
    config = {
        "potential": "m",
        "structure": {"bulk": "Cu", "cubic": True},
        "stages": stages,
        "output": tmp_path / "run",
        "trajectory": {"every_fs": 1},
        "thermo_every_fs": 1,
    }
    with caplog.at_level("WARNING", "forcewright"):
        fw.simulate(config)
    assert "this run at 1200 K is not expected to last" in caplog.text


@pytest.mark.probed
def test_a_fit_says_what_its_probing_found(tmp_path: Path) -> None:
    settings = {"runs": 2, "time_ps": 0.02, "packings": 2, "temperature_K": 300}
    result = fw.fit(
        crystals(),
        model={"kind": "snap", "twojmax": 2, "rcut": 4.0},
        validation=2,
        workers=1,
        stability=settings,
        search={"starts": 1, "evaluations": 5},
    )
    found = result.summary["stability"]
    assert found["status"] == "probed" and found["runs"]["done"] == 2 and found["packings"]["done"] == 2
    assert found["temperature_K"] == 300 and not found["temperature_defaulted"] and found["budget_s"] == 60
    assert len(stability.sections(result.summary)[0][1]) > 200
    remembered = result.potential.provenance["stability"]
    assert [row["temperature_K"] for row in remembered["runs"]] == [300, 450]
    assert sum(row["survived"] for row in remembered["runs"]) == found["runs"]["survived"]
    assert fw.load(result.potential.save(tmp_path / "potential")).provenance["stability"] == remembered
