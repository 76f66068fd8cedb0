from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from pydantic import ValidationError

from forcewright.errors import InputError, MissingExtraError
from forcewright.models import load
from forcewright.models.graph import GraphModel, GraphPotential
from forcewright.structure import Dataset, Structure

ARCHITECTURES = ("schnet", "painn", "tensornet", "nequip", "mace")
SMALL = {"cutoff": 3.2, "channels": 6, "layers": 1, "radial_features": 6, "batch_size": 2}


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    pytest.importorskip("graph_pes", reason="the package graph-pes is not installed", exc_type=ImportError)


def labelled(atoms: Atoms, shift: float = -7.0) -> Atoms:
    """Atoms with the energy of a Morse potential and a constant for each atom."""
    atoms.calc = MorsePotential(epsilon=1.0, r0=2.35, rho0=3.0, rcut1=1.1, rcut2=1.34)  # in units of r0
    results = (atoms.get_potential_energy() + shift * len(atoms), atoms.get_forces(), atoms.get_stress())
    out = atoms.copy()
    from ase.calculators.singlepoint import SinglePointCalculator

    out.calc = SinglePointCalculator(out, energy=results[0], forces=results[1], stress=results[2])
    return out


def frames(count: int, seed: int = 0, shift: float = -7.0) -> Dataset:
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(count):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.12, rng=rng)
        atoms.set_cell(atoms.cell * rng.uniform(0.98, 1.02), scale_atoms=True)
        cells.append(labelled(atoms, shift))
    return Dataset.from_ase(cells)


def errors(potential: GraphPotential, data: Dataset) -> tuple[float, float]:
    """Root mean square errors of energies per atom and forces."""
    found = potential.predict(data.structures)
    energies = [(p.energy - labels.energy) / len(p.forces) for p, labels in zip(found, data.labels, strict=True)]
    forces = np.concatenate([(p.forces - labels.forces).ravel() for p, labels in zip(found, data.labels, strict=True)])
    return float(np.sqrt(np.mean(np.square(energies)))), float(np.sqrt(np.mean(forces**2)))


@pytest.fixture(scope="module")
def trained() -> GraphPotential:
    return GraphModel(architecture="painn", epochs=40, learning_rate=0.03, **SMALL).fit(
        frames(12), rng=np.random.default_rng(1)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_beats_the_mean(architecture: str) -> None:
    train, test = frames(12), frames(6, seed=9)
    model = GraphModel(architecture=architecture, epochs=30, learning_rate=0.03, **SMALL)
    seen: list[float] = []
    potential = model.fit(train, rng=np.random.default_rng(0), progress=lambda epoch: seen.append(epoch.training_loss))
    energy, force = errors(potential, test)
    forces = np.concatenate([labels.forces.ravel() for labels in test.labels])
    trivial = np.var([labels.energy for labels in test.labels]) / 8 + np.mean(forces**2)  # the mean energy, no forces
    assert seen[-1] < 0.5 * seen[0]
    assert 8 * energy**2 + force**2 < 0.5 * trivial


def test_same_seed_same_potential_another_seed_another(trained: GraphPotential) -> None:
    state = np.random.get_state()[1].copy()
    import torch

    generator = torch.random.get_rng_state()
    model = GraphModel(architecture="painn", epochs=2, **SMALL)
    first, second, third = (model.fit(frames(6), rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    for name, weights in first.weights.items():
        np.testing.assert_array_equal(weights, second.weights[name])
    assert any((weights != third.weights[name]).any() for name, weights in first.weights.items())
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    assert torch.equal(generator, torch.random.get_rng_state())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded_are_equal_to_the_bit(architecture: str, tmp_path: Path) -> None:
    model = GraphModel(architecture=architecture, epochs=1, **SMALL)
    potential = model.fit(frames(4), rng=np.random.default_rng(0))
    again = load(potential.save(tmp_path / "saved"))
    structure = frames(1, seed=5).structures[0]
    first, second = potential.predict([structure])[0], again.predict([structure])[0]
    assert first.energy == second.energy
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.stress, second.stress)
    assert first.forces.dtype == np.float64
    content = json.loads((tmp_path / "saved" / "potential.json").read_text())
    assert content["provenance"]["hyperparameters"]["architecture"] == architecture


def test_damaged_folders_are_told(trained: GraphPotential, tmp_path: Path) -> None:
    trained.save(tmp_path / "other")
    weights = tmp_path / "other" / "weights.npz"
    whole = weights.read_bytes()
    for damaged in (b"not an archive", whole[: len(whole) // 2]):
        weights.write_bytes(damaged)
        with pytest.raises(InputError, match="weights.npz: is damaged"):
            load(tmp_path / "other")
    trained.save(tmp_path / "wide")
    file = tmp_path / "wide" / "potential.json"
    file.write_text(file.read_text().replace('"channels": 6', '"channels": 8'))
    with pytest.raises(InputError, match="does not hold the weights"):
        load(tmp_path / "wide")
    shutil.rmtree(tmp_path / "wide")


def test_offsets_carry_the_energy_of_the_composition(trained: GraphPotential) -> None:
    assert trained.offsets[14] == pytest.approx(np.mean([e.energy / 8 for e in frames(12).labels]), abs=0.1)


def test_isolated_atoms_give_the_offsets_when_asked_for() -> None:
    alone = Dataset.from_ase([labelled(Atoms("Si", positions=[[0, 0, 0]], cell=[20] * 3))])
    model = GraphModel(energy_offsets="isolated", epochs=1, **SMALL)
    assert model.fit(frames(3) + alone, rng=np.random.default_rng(0)).offsets == {14: pytest.approx(-7.0)}
    with pytest.raises(InputError, match="no isolated atom of every species"):
        model.fit(frames(3), rng=np.random.default_rng(0))


def test_fine_tuning_starts_where_the_other_ended(trained: GraphPotential, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "start")
    elsewhere = frames(8, seed=3, shift=-20.0)  # the same surface with another zero of energy
    tuned = GraphModel(start_from=folder, epochs=1, learning_rate=1e-6, batch_size=2).fit(
        elsewhere, rng=np.random.default_rng(0)
    )
    fresh = GraphModel(architecture="painn", epochs=1, learning_rate=1e-6, **SMALL).fit(
        elsewhere, rng=np.random.default_rng(0)
    )
    assert errors(tuned, elsewhere)[1] < 0.6 * errors(fresh, elsewhere)[1]
    assert errors(tuned, elsewhere)[0] < 0.1
    assert tuned.offsets[14] == pytest.approx(trained.offsets[14] - 13, abs=0.1)


def test_fine_tuning_refuses_another_network(trained: GraphPotential, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "start")
    with pytest.raises(InputError, match="is 12, but the network to start from has 6"):
        GraphModel(start_from=folder, channels=12).fit(frames(3), rng=np.random.default_rng(0))
    carbon = Dataset.from_ase([labelled(bulk("C", cubic=True))])
    with pytest.raises(InputError, match="knows no C"):
        GraphModel(start_from=folder).fit(carbon, rng=np.random.default_rng(0))


def test_training_stops_early_and_in_time() -> None:
    slow = GraphModel(epochs=50, patience=2, learning_rate=1e-12, **SMALL).fit(frames(4), rng=np.random.default_rng(0))
    assert slow.provenance["ended"].startswith("early") and slow.provenance["epochs"] < 50
    short = GraphModel(epochs=10**6, max_minutes=0.01, **SMALL).fit(frames(4), rng=np.random.default_rng(0))
    assert "limit of 0.01 minutes" in short.provenance["ended"] and short.provenance["epochs"] < 1000


def test_partial_labels_and_stresses_are_trained_on() -> None:
    data = frames(6)
    forces_only = Dataset(tuple(f._replace(labels=type(f.labels)(forces=f.labels.forces)) for f in data.frames[:3]))
    mixed = forces_only + data[3:]
    potential = GraphModel(stress_weight=0.1, epochs=2, **SMALL).fit(mixed, rng=np.random.default_rng(0))
    assert np.isfinite(errors(potential, data)).all()
    none = Dataset(tuple(f._replace(labels=type(f.labels)()) for f in data))
    with pytest.raises(InputError, match="no frame has what the weights ask for"):
        GraphModel(**SMALL).fit(none, rng=np.random.default_rng(0))


def test_left_handed_and_half_periodic_cells(trained: GraphPotential) -> None:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=2)
    right = Structure.from_ase(atoms)
    swapped = Structure(right.numbers, right.positions, right.cell[[1, 0, 2]], right.pbc)
    first, second = trained.predict([right])[0], trained.predict([swapped])[0]
    np.testing.assert_allclose(second.stress, first.stress, atol=1e-6)
    slab = Structure(right.numbers, right.positions, right.cell, [True, True, False])
    vacuum = Structure(right.numbers, right.positions, np.diag([*np.diag(right.cell)[:2], 30.0]), [True] * 3)
    assert trained.predict([slab])[0].energy == pytest.approx(trained.predict([vacuum])[0].energy, abs=1e-4)


def test_travels_to_a_worker(trained: GraphPotential) -> None:
    import pickle

    structure = frames(1, seed=5).structures[0]
    expected = trained.predict([structure])[0].energy
    assert pickle.loads(pickle.dumps(trained)).predict([structure])[0].energy == expected


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            GraphModel(device="cuda", **SMALL).fit(frames(2), rng=np.random.default_rng(0))
    monkeypatch.setitem(sys.modules, "graph_pes", None)
    with pytest.raises(MissingExtraError, match=r'pip install "forcewright\[graph\]"'):
        GraphModel(**SMALL).fit(frames(2), rng=np.random.default_rng(0))
    with pytest.raises(ValidationError):
        GraphModel(architecture="gemnet")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    GraphModel(architecture="mace", epochs=1, **SMALL).fit(frames(3), rng=np.random.default_rng(0))
    out, err = capfd.readouterr()
    assert out == "" and err == ""
