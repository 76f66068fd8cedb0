"""Family trees of rattled and relaxed structures, with harmonic crystals and molecules of which the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.units import kB

from forcewright.data import read, write
from forcewright.errors import ForcewrightError, InputError
from forcewright.generation import fragments, mean_teacher_calls, rattle_relax_repeat
from forcewright.potential import Failure
from forcewright.recipes.generate import generate
from forcewright.recipes.label import label
from forcewright.recipes.tune import fit
from forcewright.reference import label_all, reference_from
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.uncertainty import judge, uncertainty_of

COPPER = Structure.from_ase(bulk("Cu", cubic=True).repeat(2))
TERSOFF = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * Si.tersoff Si"}}


class Counting:
    """Atoms on springs to the sites of copper; counts calls and how many structures each had."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.structures: list[Structure] = []

    def __call__(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        self.sizes.append(len(structures))
        self.structures += structures
        said: list[Labels | Failure] = []
        for structure in structures:
            sites = COPPER.positions @ np.linalg.solve(COPPER.cell, structure.cell)
            moves = structure.positions - sites
            stiffness = np.where(np.arange(len(moves)) % 2, 8.0, 2.0)[:, None]
            said.append(Labels(float(0.5 * np.sum(stiffness * moves**2)), -stiffness * moves))
        return said


def grown(teacher: Counting, count: int = 10, seed: int = 0, **settings: object):
    return list(rattle_relax_repeat(COPPER, teacher, count, np.random.default_rng(seed), **settings))  # type: ignore[arg-type]


def test_a_tree_grows_within_its_limits() -> None:
    teacher = Counting()
    made = grown(teacher, temperature_K=400, batch=4)
    assert len(made) == 10
    assert sum(teacher.sizes) == made[-1].info["calls_so_far"] >= sum(m.info["teacher_calls"] for m in made) + 1
    assert max(teacher.sizes) <= 4
    root = teacher([COPPER])[0].energy / len(COPPER)  # type: ignore[union-attr, operator]
    hashes = {COPPER.content_hash[:12]: 0}
    for structure, info in made:
        labels = teacher([structure])[0]
        assert isinstance(labels, Labels)
        assert labels.energy / len(structure) - root == pytest.approx(info["energy_above_start_eV_per_atom"])
        assert info["energy_above_start_eV_per_atom"] <= 1.5 * kB * 400
        parent = str(info["parent"]).rpartition("-")[2]
        assert info["generation"] == hashes[parent] + 1  # every parent stands in the tree before its child
        hashes[structure.content_hash[:12]] = int(info["generation"])
        assert 0.03 <= info["sigma_A"] <= 0.2
        strain = np.linalg.solve(COPPER.cell, structure.cell) - np.eye(3)
        np.testing.assert_allclose(strain, strain.T, atol=1e-12)
        assert np.abs(strain).max() < 5 * 0.02  # about the root's cell, not the parent's
    assert max(m.info["generation"] for m in made) > 1


def test_the_first_step_is_as_long_as_the_displacement_and_the_second_half_of_it() -> None:
    teacher = Counting()
    with pytest.raises(ForcewrightError, match="kept 0 of 1 structures: 25 candidates"):
        grown(teacher, 1, strain=0.0, energy_above_eV_per_atom=1e-6, sigma_A=(0.1, 0.1), relax_steps=2, batch=1)
    for x, (before, after) in enumerate(zip(teacher.structures[1:3], teacher.structures[2:4], strict=True), start=1):
        labels = Counting()([before])[0]
        assert isinstance(labels, Labels) and labels.forces is not None
        unit = labels.forces / np.sqrt(np.mean(labels.forces**2))
        lengths = np.linalg.norm(unit, axis=1, keepdims=True)
        step = 0.1 / x * unit * np.minimum(1, 2 / lengths)
        np.testing.assert_allclose(after.positions - before.positions, step, atol=1e-12)


def test_what_is_too_like_a_member_never_reaches_the_teacher() -> None:
    teacher = Counting()
    made = grown(teacher, 5, least_displacement_A=0.15, strain=0.0)
    for structure in teacher.structures[1:]:
        moves = structure.positions - COPPER.positions
        if structure.content_hash not in {m.structure.content_hash for m in made}:
            continue
        moves -= moves.mean(axis=0)
        assert np.sqrt(np.mean(np.sum(moves**2, axis=1))) >= 0.15
    refused = Counting()
    with pytest.raises(ForcewrightError, match="no further candidate passed before its first call"):
        grown(refused, 5, is_new=lambda structure: False)
    assert refused.sizes == [1]  # the root alone


def test_energies_decide_who_has_children() -> None:
    cold = grown(Counting(), 30, temperature_K=30, energy_above_eV_per_atom=0.05, generation_power=0.0)
    hot = grown(Counting(), 30, temperature_K=1e5, energy_above_eV_per_atom=0.05, generation_power=4.0)
    assert all(m.info["generation"] == 1 for m in cold)  # 30 K: nothing beside the crystal is probable
    assert max(m.info["generation"] for m in hot) > 3


def test_failures_and_senseless_numbers_are_sentences() -> None:
    with pytest.raises(InputError, match="cannot be computed by the teacher: no"):
        next(rattle_relax_repeat(COPPER, lambda s: [Failure("no")] * len(s), 1, np.random.default_rng()))
    broken = iter([Counting()([COPPER])[0]])
    with pytest.raises(ForcewrightError, match="calls of the teacher failed, such as: no convergence"):
        grown(lambda s: [next(broken, Failure("no convergence")) for _ in s], 2)  # type: ignore[arg-type]
    for wrong in ({"sigma_A": (0.2, 0.1)}, {"strain": 0.3}, {"temperature_K": 0.0}, {"batch": 0}, {"count": 0},
                  {"least_displacement_A": 1.0}):  # fmt: skip
        with pytest.raises(InputError):
            grown(Counting(), **wrong)  # type: ignore[arg-type]


def test_a_config_resumes_and_its_labels_are_there(tmp_path: Path) -> None:
    step = {"kind": "rattle_relax_repeat", "teacher": TERSOFF, "count": 6}
    config = {"structures": {"si": {"bulk": "Si", "cubic": True, "repeat": 2}}, "recipes": [step],
              "cache": str(tmp_path / "kept"), "output": str(tmp_path / "made.extxyz")}  # fmt: skip
    made = generate(config)
    calls = mean_teacher_calls(made)
    assert calls is not None and calls <= 5  # what the documented defaults promise on average
    files = set((tmp_path / "kept").rglob("*.npz"))
    assert len(files) <= calls * len(made)
    assert generate(config).content_hash == made.content_hash
    assert set((tmp_path / "kept").rglob("*.npz")) == files  # nothing was computed twice
    labelled = label({"reference": TERSOFF, "structures": str(tmp_path / "made.extxyz"), "workers": 1,
                      "cache": str(tmp_path / "kept"), "output": str(tmp_path / "labelled.extxyz")})  # fmt: skip
    assert labelled.labelling.cached == len(made)
    more = generate({**config, "recipes": [{**step, "count": 6}, {"kind": "dimers", "species": ["Si"],
                                                                  "distances_A": [2, 3], "count": 2}]})  # fmt: skip
    assert [s.content_hash for s in more.structures[:6]] == [s.content_hash for s in made.structures]
    with pytest.raises(InputError, match=r"recipes\.0\.teacher"):
        generate({**config, "recipes": [{**step, "teacher": {"xtb": "GFN9"}}]})
    with pytest.raises(InputError, match="nowhere, field 'teacher': does not exist"):
        generate({**config, "recipes": [{**step, "teacher": "nowhere"}]})


def test_only_what_a_student_does_not_know_is_computed(tmp_path: Path) -> None:
    config = {"structures": {"si": {"bulk": "Si", "cubic": True}}, "output": str(tmp_path / "made.extxyz")}
    known = generate({**config, "recipes": [{"kind": "rattle", "amplitudes_A": [0.05], "count": 12}]})
    labelled = label_all(reference_from(TERSOFF, tmp_path), known, workers=0).dataset(known)
    student = fit(labelled, model={"kind": "ace", "functions": 8, "rcut": 3.5, "radial": "ChebExpCos"}, ridge=1e-8,
                  weights={"energy": 100, "force": 1}, stability="off", validation=3).potential  # fmt: skip
    student.save(tmp_path / "student")
    uncertainty = uncertainty_of(student)
    assert uncertainty is not None
    step = {"kind": "rattle_relax_repeat", "teacher": TERSOFF, "count": 4, "sigma_A": [0.02, 0.3], "relax_steps": 0,
            "energy_above_eV_per_atom": 2.0, "least_displacement_A": 0.03}  # fmt: skip
    without = generate({**config, "recipes": [step]})
    chosen = generate({**config, "recipes": [{**step, "student": str(tmp_path / "student")}]})
    assert all(judge(uncertainty, structure).is_outside for structure in chosen.structures)
    assert not all(judge(uncertainty, structure).is_outside for structure in without.structures)
    with pytest.raises(InputError, match="needs a potential that knows how uncertain it is|uncertainty"):
        generate({**config, "recipes": [{**step, "student": str(tmp_path / "student"), "uncertainty": "variance"}]})


def test_every_frame_of_a_file_is_a_start(tmp_path: Path) -> None:
    frames = [COPPER, Structure(COPPER.numbers, COPPER.positions, 1.01 * COPPER.cell, COPPER.pbc)]
    write(Dataset(tuple(Frame(s, Labels()) for s in frames)), tmp_path / "starts.extxyz")
    made = generate({"files": {"cu": str(tmp_path / "starts.extxyz")}, "output": str(tmp_path / "made.extxyz"),
                     "recipes": [{"kind": "rattle", "amplitudes_A": [0.1]}]})  # fmt: skip
    assert made.group_sizes == {"cu_rattle": 2}
    assert len(read(tmp_path / "made.extxyz", require_energy=False)) == 2


def test_molecules_and_their_pieces() -> None:
    water = molecule("H2O")
    box = water.copy()
    box.set_cell([6, 6, 12])
    box.pbc = True
    box.positions += [5.9, 3, 3]  # across the boundary
    other = water.copy()
    other.positions += [5.9, 3, 5.8]
    both = Structure.from_ase(box + other)
    wrapped = both.to_ase()
    wrapped.wrap()
    made = list(fragments(Structure.from_ase(wrapped), np.random.default_rng(0), pairs=1))
    names = [(m.info["fragment"], m.structure.formula) for m in made]
    assert names == [("molecule", "H2O"), ("piece", "HO"), ("piece", "H"), ("pair", "H4O2")]
    intact = made[0].structure.to_ase()
    np.testing.assert_allclose(np.sort(intact.get_all_distances().ravel()),
                               np.sort(water.get_all_distances().ravel()), atol=1e-9)  # fmt: skip
    pair = made[-1].structure.to_ase()
    oxygens = [atom.index for atom in pair if atom.symbol == "O"]
    assert pair.get_distance(*oxygens) == pytest.approx(2.8)
    boxed = next(fragments(both, np.random.default_rng(0), pieces=False, box_A=8.0)).structure
    assert boxed.pbc.all() and boxed.volume > 8**3
    with pytest.raises(InputError, match="without an end"):
        list(fragments(COPPER, np.random.default_rng(0)))
