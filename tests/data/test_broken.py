"""Every broken file is refused by `read` or flagged by `audit`, in words that name file, frame, field and cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcewright.data import audit, read
from forcewright.errors import InputError

BROKEN = Path(__file__).parents[1] / "broken"

#: file -> frame, field, words of the message
REFUSED: dict[str, tuple[int | None, str | None, str]] = {
    "truncated.extxyz": (1, "number of atoms", "the file ends after 1 of 2 atoms"),
    "atom_count.extxyz": (0, "Properties", "the number of atoms (3)"),
    "unknown_element.extxyz": (1, "species", "'Xq' is an unknown element"),
    "wrong_columns.extxyz": (1, "Properties", "8 columns where Properties announces 7"),
    "forces_two_columns.extxyz": (0, "forces", "has shape (2, 2), expected (2, 3)"),
    "forces_not_numbers.extxyz": (1, "forces", "'strong'"),
    "energy_not_a_number.extxyz": (1, "energy", "low is not made of numbers"),
    "energy_three_numbers.extxyz": (0, "energy", "expected one number in eV"),
    "no_energy.extxyz": (None, "energy", "the keys that are there: config_type, forces, stress"),
    "unknown_keys.extxyz": (None, "energy", "dft_energy"),
    "virial_disagrees.extxyz": (1, "virial", "disagrees with stress"),
    "stress_five_numbers.extxyz": (1, "stress", "needs 6 numbers (xx yy zz yz xz xy) or 9, found 5"),
    "stress_not_symmetric.extxyz": (0, "stress", "is not symmetric"),
    "virial_without_cell.extxyz": (0, "virial", "needs a cell with a volume"),
    "lattice_eight_numbers.extxyz": (1, "Lattice", "is not nine numbers"),
    "empty.extxyz": (None, None, "is empty"),
    "binary.extxyz": (None, None, "is not a text file"),
    "suffix.exyz": (None, None, "'.exyz' is not known; did you mean .xyz?"),
    "overlop.extxyz": (None, None, "does not exist; did you mean overlap.extxyz?"),
    "truncated.vasprun.xml.gz": (0, "calculation", "breaks off"),
    "cut_off.vasprun.xml": (2, "calculation", "after 2 finished ionic steps"),
    "unfinished_step.vasprun.xml": (0, "e_fr_energy", "unfinished"),
    "stars.vasprun.xml": (0, "e_fr_energy", "'******' is not a number"),
    "no_step.vasprun.xml": (None, "calculation", "holds no ionic step"),
    "other_xml.vasprun.xml": (None, None, "the root is <html>, expected <modeling>"),
    "not_gzip.vasprun.xml.gz": (None, None, "is not a gzip file"),
    "bad_json.json": (None, None, "is not JSON"),
    "wrong_schema.json": (0, "structure", "found positions, energy"),
    "not_a_list.json": (None, None, "expected a list of entries"),
    "forces_one_row.json": (1, "forces", "has shape (1, 3), expected (2, 3)"),
    "forces_ragged.json": (0, "forces", "one row of three numbers per atom"),
    "virial_four_numbers.json": (1, "virial_stress", "expected six numbers in kbar"),
    "no_z.npz": (None, "z", "is missing; the file holds E, F, R"),
    "objects.npz": (None, None, "never loaded because they can run code"),
    "unknown_unit.npz": (None, "e_unit", "'erg' is not a known unit; allowed are ev, kcal/mol"),
    "no_unit.npz": (None, "e_unit", "pass energy_unit="),
    "positions_shape.npz": (None, "R", "expected (frames, 2, 3)"),
    "forces_shape.npz": (None, "F", "expected (1, 2, 3)"),
    "cut_off.npz": (None, None, "it may be cut off"),
    "not_a_database.db": (None, None, "is not an SQLite database"),
    "other_database.db": (None, None, "cannot be read as an ASE database"),
    "no_labels.db": (None, "energy", "dft_energy"),
}

#: file -> severity, frame, field, words of the message
FLAGGED: dict[str, tuple[str, int | None, str, str]] = {
    "nan_force.extxyz": ("error", 1, "forces", "holds nan at atom 0"),
    "inf_energy.extxyz": ("error", 1, "energy", "holds inf"),
    "nan_stress.extxyz": ("error", 0, "stress", "holds nan"),
    "zero_cell.extxyz": ("error", 0, "Lattice", "lattice vector a, which is zero"),
    "left_handed.extxyz": ("warning", 1, "Lattice", "left-handed"),
    "overlap.extxyz": ("error", 1, "positions", "Si (atom 0) and Si (atom 1) are 0.500 Å apart"),
    "coincident.extxyz": ("error", 0, "positions", "0.000 Å apart"),
    "duplicate.extxyz": ("error", 1, "energy", "the same structure as frame 0"),
    "net_force.extxyz": ("error", 1, "forces", "sum to 2 eV/Å instead of zero"),
    "force_outlier.extxyz": ("warning", 12, "forces", "atom 0 feels 149.7 eV/Å"),
    "energy_per_atom.extxyz": ("error", 12, "energy", "an energy per atom"),
    "energy_hartree.extxyz": ("error", 12, "energy", "an energy in Hartree"),
    "energy_outlier.extxyz": ("warning", 12, "energy", "-3.7 eV/atom away"),
    "some_without_forces.extxyz": ("warning", 12, "forces", "1 of 13 frames have no forces"),
    "no_forces.vasprun.xml": ("note", None, "forces", "no frame has forces"),
    "stress_gpa_in_one_group.extxyz": ("error", None, "stress", "group gpa: the stress is 159 times"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_read_refuses_in_a_sentence(name: str) -> None:
    frame, field, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        read(BROKEN / name)
    assert (caught.value.frame, caught.value.field) == (frame, field)
    assert name in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_audit_reports_what_read_refuses(name: str) -> None:
    frame, field, words = REFUSED[name]
    errors = [finding for finding in audit(BROKEN / name).errors if words in finding.message or words in str(finding)]
    assert [(finding.frame, finding.field) for finding in errors] == [(frame, field)]


@pytest.mark.parametrize("name", FLAGGED)
def test_audit_flags_in_a_sentence(name: str) -> None:
    severity, frame, field, words = FLAGGED[name]
    found = [finding for finding in audit(BROKEN / name).findings if words in finding.message]
    assert [(f.severity, f.frame, f.field) for f in found] == [(severity, frame, field)]
    assert name in str(found[0])


@pytest.mark.parametrize("name", FLAGGED)
def test_audit_says_nothing_else_is_wrong(name: str) -> None:
    severity, _, field, _ = FLAGGED[name]
    others = [f for f in audit(BROKEN / name).findings if f.severity != "note" and f.field != field]
    assert not others


def test_every_broken_file_is_tested() -> None:
    files = {path.name for path in BROKEN.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == (set(REFUSED) | set(FLAGGED)) - {"overlop.extxyz"}


def test_a_folder_is_refused() -> None:
    with pytest.raises(InputError, match="is a folder, expected a file"):
        read(BROKEN)


def test_audit_goes_on_after_a_broken_file() -> None:
    findings = audit([BROKEN / "truncated.extxyz", BROKEN / "bad_json.json", BROKEN / "net_force.extxyz"]).errors
    assert {Path(str(finding.file)).name for finding in findings} == {
        "truncated.extxyz", "bad_json.json", "net_force.extxyz",
    }  # fmt: skip
