"""Physical validation: verdicts, references, failures that become rows, and the config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forcewright.configs import validate as read_settings
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.models.pair_style import pair_style_potential
from forcewright.simulation.monitors import Alarm
from forcewright.structure import Structure
from forcewright.validation.physics import PROPERTIES, PhysicsReport, ValidationConfig, _compare, validate
from forcewright.validation.properties import Computed, unit_of
from forcewright.validation.tolerance import Tolerance, parse_tolerance

SILICON = Structure.from_ase(bulk("Si", cubic=True))
COPPER = Structure.from_ase(bulk("Cu", cubic=True))


def silicon(kind: str) -> ForceField:
    if kind == "SW":
        potential = pair_style_potential("sw", "* * Si.sw Si", Path())
    else:
        potential = pair_style_potential("tersoff", "* * SiCGe.tersoff Si(D)", Path(), species=["Si"])
    return ForceField(kind, potential.calculator, kind, potential.species, potential)


def copper() -> ForceField:
    return ForceField("EMT", EMT, "EMT")


def config(properties: dict[str, Any], **more: Any) -> ValidationConfig:
    return read_settings(
        ValidationConfig, {"structure": {"bulk": "Cu", "cubic": True}, "properties": properties, **more}
    )


def run(
    force_field: ForceField, structure: Structure, properties: dict[str, Any], reference: ForceField | None = None
) -> PhysicsReport:
    return validate(force_field, structure, config(properties).asked(), reference)


def rows(report: PhysicsReport) -> dict[str, Any]:
    return {f"{row.property}.{row.number}": row for row in report.rows}


def test_stillinger_weber_beside_dft_is_judged_number_by_number(shared_data: Path) -> None:
    """Its lattice constant is 0.55 % short of CASTEP's, its bulk modulus 14.5 % too large, its C44 22 % too small."""
    folder = shared_data / "si-castep"
    dft = json.loads((folder / "model-CASTEP_ASE-test-bulk_diamond-properties.json").read_text())
    interstitials = json.loads((folder / "model-CASTEP_ASE-test-interstitial-energy-properties.json").read_text())
    report = run(
        silicon("SW"), SILICON,
        {
            "equation_of_state": {
                "reference": {"a0_A": dft["diamond_a0"], "bulk_modulus_GPa": dft["diamond_bulk_modulus"]},
                "tolerance": {"a0_A": "1%", "bulk_modulus_GPa": "10%"},
            },
            "elastic": {"reference": {"c11_GPa": dft["diamond_c11"], "c44_GPa": dft["diamond_c44"]}, "tolerance": "5%"},
            "interstitials": {
                "sites": ["tetrahedral"], "tolerance": 0.5,
                "reference": {"tetrahedral_eV": interstitials["tetrahedral_interstitial_energy"]},
            },
        },
    )  # fmt: skip
    found = rows(report)
    assert found["equation_of_state.a0_A"].verdict == "pass"
    assert found["equation_of_state.bulk_modulus_GPa"].verdict == "fail"
    assert found["equation_of_state.volume_A3_per_atom"].verdict == "no reference"
    assert found["elastic.c11_GPa"].verdict == "pass" and found["elastic.c44_GPa"].verdict == "fail"
    assert found["elastic.stable"].verdict == "pass"  # as every crystal should be
    assert found["interstitials.tetrahedral_eV"].verdict == "fail"  # 5.00 against 3.91 eV
    assert found["elastic.c44_GPa"].unit == "GPa" and found["elastic.c44_GPa"].tolerance == "5%"
    assert not report.passed and report.reference is None


def test_a_potential_is_as_good_as_itself() -> None:
    asked: dict[str, Any] = {
        "equation_of_state": True, "elastic": None, "surfaces": [[1, 1, 1]], "dimer": {}, "vacancy": {"repeat": 2},
        "phonons": {"repeat": 2, "mesh": 4, "points": 30}, "phases": {"phases": ["hcp"], "points": 5}, "compression": [0, 5],
    }  # fmt: skip
    report = run(copper(), COPPER, asked, copper())
    assert report.passed and report.count("no reference") == 0, report.rows
    for row in report.rows:
        assert row.value == pytest.approx(row.reference, abs=1e-9)
    assert {row.number for row in report.rows} >= {"curve_rms_meV_per_atom", "bands_rms_THz", "hcp_eV_per_atom"}
    assert json.dumps(report.to_dict(), allow_nan=False)
    for results in report.results.values():
        assert all(result.plot().has_data() for result in results.values())


def test_stated_values_come_before_a_computed_reference() -> None:
    report = run(silicon("Tersoff"), SILICON, {"equation_of_state": {"reference": {"a0_A": 5.0}}}, silicon("SW"))
    found = rows(report)
    assert found["equation_of_state.a0_A"].reference == 5.0
    assert found["equation_of_state.bulk_modulus_GPa"].reference == pytest.approx(101.5, abs=0.2)
    assert report.reference == "SW" and "equation_of_state" in report.reference_results


def judged(property: str, number: str, ours: float, theirs: float | None, ideal: Any, **settings: Any) -> Any:
    """Return the row of a number that a potential and a reference have."""
    item, asked = replace(PROPERTIES[property], differences=None), config({property: settings}).asked()[property]
    reference = None if theirs is None else Computed({number: theirs})
    return _compare(item, asked, Computed({number: ours}, ideal=ideal), reference, "")[0]


@pytest.mark.parametrize(
    ("property", "number", "ours", "theirs", "ideal", "verdict", "reference"),
    [
        ("survival", "share", 1.0, 0.8, 1.0, "pass", 1.0),
        ("survival", "share", 0.9, 0.8, 1.0, "pass", 1.0),  # fewer than all, and still more than the reference
        ("survival", "share", 0.7, 0.8, 1.0, "fail", 1.0),
        ("survival", "share", 0.8, None, 1.0, "fail", 1.0),
        ("energy_conservation", "drift_eV_per_atom_per_ps", 1e-6, 2e-3, 0.0, "pass", 0.0),
        ("energy_conservation", "drift_eV_per_atom_per_ps", 2e-3, 2e-3, 0.0, "fail", 0.0),
        ("energy_conservation", "spread_eV_per_atom", 1e-4, 2e-2, None, "pass", 2e-2),
        ("dimer", "Cu-Cu_wall_monotonic", True, False, True, "pass", True),
        ("dimer", "Cu-Cu_wall_monotonic", False, False, True, "fail", True),
        ("liquid", "stored_rdf_rms", 0.01, 0.3, 0.0, "pass", 0.0),
    ],
)
def test_ideals_stay_what_they_are_and_better_is_no_fault(
    property: str, number: str, ours: float, theirs: float | None, ideal: Any, verdict: str, reference: float
) -> None:
    kelvin = {} if property == "dimer" else {"temperature_K": 300}
    ideals = {} if ideal is None else {number: ideal}
    row = judged(property, number, ours, theirs, ideals, **kelvin)
    assert (row.verdict, row.reference) == (verdict, reference)
    assert ("better than the reference's 0.8" in row.reason) == (ours == 0.9)


def test_a_stated_value_replaces_an_ideal() -> None:
    stated = {"temperature_K": 300, "reference": {"share": 0.5}}
    assert judged("survival", "share", 0.6, 0.9, {"share": 1.0}, **stated).verdict == "pass"
    assert judged("survival", "share", 0.4, 0.3, {"share": 1.0}, **stated).verdict == "pass"  # better than computed
    assert judged("survival", "share", 0.4, None, {"share": 1.0}, **stated).verdict == "fail"


class Unwilling(Calculator):
    """Knows energies and forces, no stress, and no copper."""

    implemented_properties = ["energy", "forces"]

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        raise KeyError("Cu")


@pytest.mark.parametrize(("monitor", "verdict"), [("extrapolation_factor", "stopped"), ("temperature_K", "failed")])
def test_a_run_that_left_the_training_data_has_not_failed(
    monitor: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SimpleNamespace(completed=False, alarm=Alarm(monitor, "x", 7, 0.1), reason="x at step 7")
    monkeypatch.setattr("forcewright.validation.dynamic_properties.run", lambda *_, **__: ended)
    report = run(ForceField("emt", EMT, "emt"), COPPER, {"energy_conservation": {}})
    assert [(row.verdict, report.passed) for row in report.rows] == [(verdict, False)]
    assert "x at step 7" in str(report)


def test_what_cannot_be_computed_is_a_row_that_says_why() -> None:
    unwilling = ForceField("unwilling", Unwilling, "unwilling")
    report = run(unwilling, COPPER, {"equation_of_state": {}, "elastic": {}, "dimer": {}})
    assert [row.verdict for row in report.rows] == ["failed"] * 3 and not report.passed
    reasons = [row.reason for row in report.rows]
    assert all("Unwilling" in reason for reason in reasons), reasons


class Careful(EMT):
    """Refuses atoms on top of one another."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        distances = atoms.get_all_distances(mic=True)
        if (distances < 0.1).sum() > len(atoms):
            raise ArithmeticError("two atoms lie in one place")
        super().calculate(atoms, *arguments)


def test_part_that_cannot_be_computed_leaves_the_others() -> None:
    careful = ForceField("careful", Careful, "careful")
    positions = {"octahedral": (1.8, 1.8, 1.8), "on top": (0.0, 0.0, 0.0)}
    report = run(careful, COPPER, {"interstitials": {"sites": [], "positions_A": positions, "repeat": 2}}, copper())
    found = rows(report)
    assert found["interstitials.octahedral_eV"].verdict == "pass"
    failed = found["interstitials.on_top_eV"]
    assert failed.verdict == "failed" and failed.value is None and failed.unit == "eV"
    assert failed.reason == "Careful failed on Cu33: two atoms lie in one place"


def test_reference_that_fails_leaves_the_value() -> None:
    report = run(copper(), COPPER, {"dimer": {"points": 20}}, ForceField("unwilling", Unwilling, "unwilling"))
    bond = rows(report)["dimer.Cu-Cu_bond_A"]
    assert bond.verdict == "no reference" and "the reference failed: Unwilling failed" in bond.reason
    assert bond.value == pytest.approx(2.2, abs=0.3)


def test_error_of_any_kind_is_a_row() -> None:
    report = run(copper(), COPPER, {"elastic": {"strain": 7}, "dimer": {"points": 20}})
    assert rows(report)["elastic."].reason == "field 'strain': is 7.0; give a number between 0 and 0.05"
    assert rows(report)["dimer.Cu-Cu_wall_monotonic"].verdict == "pass"


def test_misspelled_number_of_a_reference_is_told() -> None:
    report = run(copper(), COPPER, {"equation_of_state": {"reference": {"a0": 3.6}, "tolerance": {"bulk_GPa": 5}}})
    wrong = [row for row in report.rows if row.verdict == "failed"]
    assert [row.number for row in wrong] == ["a0", "bulk_GPa"]
    assert "did you mean 'a0_A'" in wrong[0].reason


def test_dimer_pairs_are_those_of_the_structure() -> None:
    mixed = Structure.from_ase(bulk("CuAu", "cesiumchloride", a=3.0))
    report = run(copper(), mixed, {"dimer": {"points": 30}})
    assert set(report.results["dimer"]) == {"dimer Cu-Cu", "dimer Cu-Au", "dimer Au-Au"}


def test_hexagonal_crystal_gives_all_its_elastic_constants() -> None:
    argon = ForceField("LJ", lambda: LennardJones(sigma=3.4, epsilon=0.0104, rc=8.5, ro=6.8, smooth=True), "LJ")
    report = run(argon, Structure.from_ase(bulk("Ar", "hcp", a=3.71, c=6.06)), {"elastic": {}})
    names = {row.number for row in report.rows}
    assert names >= {"c11_GPa", "c12_GPa", "c13_GPa", "c33_GPa", "c44_GPa", "c66_GPa"} and "c14_GPa" not in names


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"vacency": {}}, "did you mean 'vacancy'"),
        ({"vacancy": {"repaet": 3}}, "did you mean 'repeat'"),
        ({"elastic": {"tolerance": "tight"}}, "'tight' is not a tolerance"),
        ({"elastic": {"tolerance": {"c11_GPa": "-1%"}}}, "-1%.* is not a tolerance"),
        ({"vacancy": {"reference": {"formation_energy_eV": "much"}}}, "field 'properties.vacancy.reference"),
        ({"elastic": 3}, "field 'properties.elastic'"),
        ({}, "properties names none; give at least one of equation_of_state, elastic"),
    ],
)
def test_mistakes_in_a_config_are_told_in_one_sentence(properties: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config(properties)


def test_tolerances_are_shares_or_numbers() -> None:
    assert parse_tolerance("1%") == Tolerance(0.01, relative=True) and str(parse_tolerance("1%")) == "1%"
    assert parse_tolerance(0.05).allows(1.04, 1.0) and not parse_tolerance(0.05).allows(1.06, 1.0)
    assert parse_tolerance("10%").allows(-1.09, -1.0) and not parse_tolerance("10%").allows(-1.11, -1.0)


def test_names_of_numbers_end_in_their_unit() -> None:
    assert (unit_of("a0_A"), unit_of("111_J_per_m2"), unit_of("bulk_modulus_GPa")) == ("Å", "J/m²", "GPa")
    assert (unit_of("hcp_A3_per_atom"), unit_of("hcp_eV_per_atom"), unit_of("stable")) == ("Å³/atom", "eV/atom", "")


def test_settings_are_the_arguments_of_the_protocols_with_their_defaults() -> None:
    settings = config({"equation_of_state": {"points": 7}}).asked()["equation_of_state"]
    assert settings.arguments() == {
        "volume_range": 0.06, "points": 7, "relaxed": "ions", "center": True, "keep_symmetry": False, "fmax": 1e-3,
    }  # fmt: skip
    assert all(one.settings.model_fields.keys() >= {"reference", "tolerance"} for one in PROPERTIES.values())
