from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from forcewright import metrics
from forcewright.accuracy import ErrorTable, Parity, compare, evaluate
from forcewright.errors import InputError
from forcewright.potential import Prediction
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.units import GPA

KEYS = {
    "frames", "energy_rmse_meV_per_atom", "energy_mae_meV_per_atom", "energy_r2", "energy_total_rmse_eV",
    "energy_total_mae_eV", "energy_rmse_per_sqrt_atom_eV", "force_rmse_eV_per_A", "force_mae_eV_per_A", "force_r2",
    "force_vector_rmse_eV_per_A", "force_norm_rmse_eV_per_A", "force_norm_mae_eV_per_A", "force_norm_r2",
    "stress_rmse_GPa", "stress_mae_GPa", "energy_bias_meV_per_atom", "pressure_rmse_GPa", "pressure_bias_GPa",
    "standard_error",
}  # fmt: skip


def make(frames: int = 30, *, stress: bool = True, seed: int = 0) -> tuple[Dataset, list[Prediction]]:
    rng = np.random.default_rng(seed)
    made, predictions = [], []
    for index in range(frames):
        atoms = int(rng.integers(2, 9))
        structure = Structure(np.full(atoms, 6), rng.random((atoms, 3)), np.eye(3) * 5, np.ones(3, bool))
        energy, forces = float(rng.normal(-5 * atoms, 1)), rng.normal(size=(atoms, 3))
        tensor = rng.normal(size=(3, 3))
        tensor = (tensor + tensor.T) / 50
        labels = Labels(energy, forces, tensor if stress else None, group=("bulk", "melt")[index % 2])
        made.append(Frame(structure, labels, f"file.xyz#{index + 100}"))
        predictions.append(
            Prediction(
                energy + rng.normal() * 0.1,
                forces + 0.1 * rng.normal(size=(atoms, 3)),
                tensor + 0.01 if stress else None,
            )
        )
    return Dataset(tuple(made), "made"), predictions


def test_two_frames_by_hand() -> None:
    cell = np.eye(3) * 4
    small = Structure([6], np.zeros((1, 3)), cell, [True] * 3)
    large = Structure([6] * 4, np.zeros((4, 3)), cell, [True] * 3)
    dataset = Dataset(
        (
            Frame(small, Labels(-1.0, np.zeros((1, 3)), np.zeros((3, 3)), "a")),
            Frame(large, Labels(-8.0, np.zeros((4, 3)), np.zeros((3, 3)), "b")),
        )
    )
    forces = np.zeros((4, 3))
    forces[0] = 1.0, 2.0, 2.0
    tensor = np.zeros((3, 3))
    tensor[0, 1] = tensor[1, 0] = 3.0 * GPA
    table = compare(dataset, [Prediction(-0.9, np.zeros((1, 3)), np.zeros((3, 3))), Prediction(-8.8, forces, tensor)])
    found = table.overall
    assert found.frames == 2
    assert found.energy_rmse_meV_per_atom == pytest.approx(1000 * np.sqrt((0.1**2 + 0.2**2) / 2))
    assert found.energy_mae_meV_per_atom == pytest.approx(150)
    assert found.energy_total_rmse_eV == pytest.approx(np.sqrt((0.1**2 + 0.8**2) / 2))
    assert found.energy_total_mae_eV == pytest.approx(0.45)
    assert found.energy_rmse_per_sqrt_atom_eV == pytest.approx(np.sqrt((0.1**2 + 0.4**2) / 2))
    assert found.energy_r2 == pytest.approx(1 - (0.1**2 + 0.2**2) / 0.5)
    assert found.force_rmse_eV_per_A == pytest.approx(np.sqrt(9 / 15))
    assert found.force_mae_eV_per_A == pytest.approx(5 / 15)
    assert found.force_vector_rmse_eV_per_A == pytest.approx(np.sqrt(9 / 5))
    assert found.force_norm_rmse_eV_per_A == pytest.approx(np.sqrt(9 / 2))  # norms 0 and 0 against 0 and 3
    assert found.force_norm_mae_eV_per_A == pytest.approx(3 / 2)
    assert found.force_norm_r2 is None  # the reference does not vary
    assert found.stress_rmse_GPa == pytest.approx(np.sqrt(9 / 12))
    assert found.stress_mae_GPa == pytest.approx(3 / 12)
    assert table.groups["a"].force_rmse_eV_per_A == 0.0
    assert table.groups["b"].energy_total_mae_eV == pytest.approx(0.8)


def test_agrees_with_metrics_and_groups_pool_to_the_whole() -> None:
    dataset, predictions = make()
    table = compare(dataset, predictions)
    reference = np.concatenate([labels.forces for labels in dataset.labels])
    predicted = np.concatenate([prediction.forces for prediction in predictions])
    assert table.overall.force_rmse_eV_per_A == pytest.approx(metrics.rmse(reference, predicted))
    assert table.overall.force_r2 == pytest.approx(metrics.r2(reference, predicted))
    assert table.overall.force_vector_rmse_eV_per_A == pytest.approx(metrics.force_vector_rmse(reference, predicted))
    energies = [labels.energy for labels in dataset.labels], [p.energy for p in predictions]
    atoms = [len(structure) for structure in dataset.structures]
    expected = metrics.energy_rmse_per_sqrt_atom(*energies, atoms)
    assert table.overall.energy_rmse_per_sqrt_atom_eV == pytest.approx(expected)
    norms = [
        [metrics.force_norm(forces) for forces in side]
        for side in ([labels.forces for labels in dataset.labels], [p.forces for p in predictions])
    ]
    assert table.overall.force_norm_rmse_eV_per_A == pytest.approx(metrics.rmse(*norms))
    assert table.overall.force_norm_mae_eV_per_A == pytest.approx(metrics.mae(*norms))
    assert table.overall.force_norm_r2 == pytest.approx(metrics.r2(*norms))
    squares = [errors.frames * errors.energy_total_rmse_eV**2 for errors in table.groups.values()]
    assert np.sqrt(sum(squares) / len(dataset)) == pytest.approx(table.overall.energy_total_rmse_eV)


def test_dictionary_has_the_agreed_keys() -> None:
    dataset, predictions = make()
    result = compare(dataset, predictions, rng=np.random.default_rng(0)).to_dict()
    assert set(result) == KEYS | {"groups", "elements", "densities"}
    assert all(set(group) == KEYS for group in result["groups"].values())
    json.dumps(result, allow_nan=False)
    for key in ("energy_rmse_meV_per_atom", "energy_mae_meV_per_atom", "force_rmse_eV_per_A", "force_mae_eV_per_A"):
        assert 0 < result["standard_error"][key] < 0.5 * result[key]


@pytest.mark.parametrize("absent", ["energy", "forces", "stress"])
def test_missing_labels_are_null_not_nan(absent: str) -> None:
    dataset, predictions = make()
    stripped = Dataset(
        tuple(
            Frame(s, Labels(**{n: None if n == absent else getattr(labels, n) for n in ("energy", "forces", "stress")}))
            for s, labels, _ in dataset
        )
    )
    result = compare(stripped, predictions, rng=np.random.default_rng(0)).to_dict()
    prefix = absent.removesuffix("s") if absent == "forces" else absent
    missing = [key for key in KEYS if key.startswith(prefix)]
    assert missing
    assert all(result[key] is None for key in missing)
    assert all(result["standard_error"][key] is None for key in missing if not key.endswith("r2"))
    json.dumps(result, allow_nan=False)


def test_one_frame_has_errors_but_no_standard_error() -> None:
    dataset, predictions = make(1)
    overall = compare(dataset, predictions, rng=np.random.default_rng(0)).overall
    assert overall.energy_r2 is None
    assert overall.energy_rmse_meV_per_atom is not None
    assert set(overall.standard_error.values()) == {None}


def test_some_frames_without_stress() -> None:
    dataset, predictions = make(6)
    frames = [Frame(s, Labels(x.energy, x.forces, None, x.group), o) if i < 3 else Frame(s, x, o)
              for i, (s, x, o) in enumerate(dataset)]  # fmt: skip
    overall = compare(Dataset(tuple(frames)), predictions).overall
    assert overall.stress_mae_GPa == pytest.approx(0.01 / GPA)


def test_parity_keeps_every_value_and_its_group() -> None:
    dataset, predictions = make()
    parity = compare(dataset, predictions).parity
    atoms = [len(structure) for structure in dataset.structures]
    assert parity.energy is not None and parity.forces is not None and parity.stress is not None
    assert len(parity.energy) == 30 and len(parity.forces) == 3 * sum(atoms) and len(parity.stress) == 180
    assert parity.energy.reference == pytest.approx([x.energy / n for x, n in zip(dataset.labels, atoms, strict=True)])
    assert [parity.forces.names[k] for k in parity.forces.group[: 3 * atoms[0] + 1]] == ["bulk"] * 3 * atoms[0] + [
        "melt"
    ]
    assert parity.forces.frame[-1] == 29


@pytest.mark.parametrize("stress", [True, False])
def test_parity_survives_the_disk(tmp_path: Path, stress: bool) -> None:
    parity = compare(*make(stress=stress)).parity
    again = Parity.load(parity.save(tmp_path / "parity.npz"))
    assert np.array_equal(again.atoms, parity.atoms)
    assert (again.stress is None) is not stress
    assert again.forces is not None and parity.forces is not None
    assert np.array_equal(again.forces.predicted, parity.forces.predicted)
    assert np.array_equal(again.forces.group, parity.forces.group)
    assert again.forces.names == parity.forces.names


def test_foreign_files_are_not_parity_files(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("no")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    np.savez(tmp_path / "c.npz", atoms=np.array([{}], dtype=object))
    for name in ("a.npz", "b.npz", "c.npz", "missing.npz"):
        with pytest.raises(InputError, match="is not a parity file"):
            Parity.load(tmp_path / name)


def test_text_and_csv(tmp_path: Path) -> None:
    dataset, predictions = make()
    table = compare(dataset, predictions, rng=np.random.default_rng(0))
    for part in str(table).split("\n\n"):  # errors, and pressures
        lines = part.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len(lines[0]) < 80
        assert lines[-1].startswith("overall") and "±" in lines[-1] and "bulk" in part
    rows = list(csv.DictReader(table.write_csv(tmp_path / "errors.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["group"] for row in rows] == ["bulk", "melt", "overall"]
    assert float(rows[-1]["force_mae_eV_per_A"]) == table.overall.force_mae_eV_per_A
    assert "stress" not in str(compare(*make(stress=False)))


class Foreign:
    species, cutoff = (6,), 3.0

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        self.asked = forces, stress
        return [Prediction(0.0, np.zeros((len(s), 3)) if forces else None) for s in structures]


def test_evaluate_asks_only_for_what_is_labelled() -> None:
    dataset, _ = make(stress=False)
    foreign = Foreign()
    table = evaluate(foreign, dataset)  # type: ignore[arg-type]
    assert isinstance(table, ErrorTable)
    assert foreign.asked == (True, False)


def test_unknown_species_names_the_frame() -> None:
    dataset, _ = make(2)
    strange = Frame(Structure([6, 14], np.zeros((2, 3))), Labels(0.0), "silicon.xyz#7")
    with pytest.raises(InputError, match=r"silicon.xyz, frame 7.*holds Si, but the potential knows only C"):
        evaluate(Foreign(), Dataset((*dataset.frames, strange)))  # type: ignore[arg-type]


def test_refuses_what_cannot_be_compared() -> None:
    dataset, predictions = make(3)
    with pytest.raises(InputError, match="2 predictions for 3 frames"):
        compare(dataset, predictions[:2])
    with pytest.raises(InputError, match=r"frame 101, field 'energy': the prediction is not a finite number"):
        compare(dataset, [predictions[0], Prediction(float("nan")), predictions[2]])
    with pytest.raises(InputError, match="has shape"):
        compare(dataset, [Prediction(0.0, np.zeros((1, 3))), *predictions[1:]])
    with pytest.raises(InputError, match="no frame"):
        compare(Dataset(()), [])


def test_biases_keep_their_sign_and_are_told_by_density() -> None:
    """Two densities, at which the pressure is 0.4 GPa too high and 0.1 GPa too low, by hand."""
    frames, predictions = [], []
    for length, error, count in ((4.0, 0.4, 2), (5.0, -0.1, 3)):
        for index in range(count):
            structure = Structure([6] * 2, np.array([[0.0, 0, 0], [2, 2, 2]]), np.eye(3) * length, [True] * 3)
            frames.append(Frame(structure, Labels(-1.0, np.zeros((2, 3)), np.eye(3) * GPA, "all")))
            noise = np.diag([1.0, -2.0, 1.0]) * index  # of no pressure
            tensor = (1.0 - error) * np.eye(3) + noise
            predictions.append(Prediction(-1.0 + 0.2 * error, np.zeros((2, 3)), tensor * GPA))
    table = compare(Dataset(tuple(frames)), predictions, rng=np.random.default_rng(0))
    assert table.overall.pressure_bias_GPa == pytest.approx((2 * 0.4 - 3 * 0.1) / 5)
    assert table.overall.pressure_rmse_GPa == pytest.approx(np.sqrt((2 * 0.16 + 3 * 0.01) / 5))
    assert table.overall.energy_bias_meV_per_atom == pytest.approx(100 * (2 * 0.4 - 3 * 0.1) / 5)
    (dense, first), (dilute, second) = table.densities
    assert dense == pytest.approx((32.0, 32.0)) and dilute == pytest.approx((62.5, 62.5))
    assert (first.frames, second.frames) == (2, 3)
    assert first.pressure_bias_GPa == pytest.approx(0.4) and second.pressure_bias_GPa == pytest.approx(-0.1)
    assert first.standard_error["pressure_bias_GPa"] == pytest.approx(0.0, abs=1e-12)
    assert table.overall.standard_error["pressure_bias_GPa"] > 0.05
    again = ErrorTable.from_dict(json.loads(json.dumps(table.to_dict())), table.parity)
    assert again.to_dict() == table.to_dict()
    assert "32 Å³/atom" in str(table) and "pressure bias" in str(table)
