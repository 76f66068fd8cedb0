"""What is wrong in Python, in the journal of a study, or in the package of somebody else, is a sentence as well."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from toy_family import HOME

import forcewright as fw
from forcewright.data import dataset_of
from forcewright.errors import InputError, MissingExtraError
from forcewright.models import FAMILIES, families, family_of
from forcewright.optimize.journal import read_trials
from forcewright.reference.offered import offered_reference
from forcewright.structure import Dataset, Labels

SNAP = {"kind": "snap", "twojmax": 2, "rcut": 4.0}


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def toy(config: dict[str, Any]) -> dict[str, Any]:
    """The small study on copper, with toys in place of SNAP."""
    model = {"kind": "toy", "cutoff": 4.0, "functions": 3}
    return {**{key: value for key, value in config.items() if key != "search"}, "model": model}


class WithoutResults:
    """A calculator that keeps no results."""


def test_outputs_that_are_no_paths(copper: Path, tmp_path: Path) -> None:
    frames = fw.read(copper / "test.extxyz")
    (tmp_path / "file").touch()
    for output in (3, b"x\0", tmp_path / "file", tmp_path / "file" / "x", "a\0b"):
        for run in (
            lambda output: fw.fit(frames, model=SNAP, output=output), lambda output: fw.statistics(frames, output),
            lambda output: fw.analyze(frames, "rdf", output), lambda output: fw.convert(frames, output),
            lambda output: fw.select(frames, output, by="random", count=2), lambda output: fw.split(frames, output),
            lambda output: fw.split(frames, (output, "b.extxyz")), fw.load, fw.report,
            lambda output: fw.predict(output, frames), lambda output: fw.analyze(frames, output),
        ):  # fmt: skip
            with pytest.raises(InputError):
                run(output)


def test_energies_alone_are_fitted_only_where_that_is_asked_for(
    toy: dict[str, Any], copper: Path, tmp_path: Path
) -> None:
    model = {**toy["model"], "functions": 2}
    frames = [frame._replace(labels=Labels(frame.labels.energy)) for frame in fw.read(copper / "train.extxyz")]
    fw.convert(frames, tmp_path / "energies.extxyz")
    config = {**toy, "model": model, "data": {"train": str(tmp_path / "energies.extxyz")}, "output": str(tmp_path)}
    for run in (lambda: fw.fit(config), lambda: fw.fit(Dataset(tuple(frames)), model=model)):
        with pytest.raises(InputError, match="no frame has forces.*labels: {forces: none}"):
            run()
    result = fw.fit(Dataset(tuple(frames)), model=model, labels={"forces": "none"}, stability="off")
    assert result.potential.species == (29,)
    config["data"]["labels"] = {"forces": "none"}
    assert fw.fit({**config, "stability": "off"}).potential.species == (29,)
    whole = fw.read(copper / "train.extxyz")
    assert not dataset_of(whole, labels={"forces": "none"}).count_labels()["forces"]


def test_settings_that_contradict(copper: Path) -> None:
    frames = fw.read(copper / "test.extxyz")
    for settings, words in (
        ({"cache_GB": float("inf")}, "cache_GB"), ({"cache_GB": float("nan")}, "cache_GB"),
        ({"study": {"settings": 2, "trials": 3}}, "trials and settings, two names of the same number"),
        ({"model": {"kind": "ace", "functions": 5, "rcut": 3.0, "densities": 2}, "committee": 3}, "takes a linear fit"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            fw.fit(frames, **{"model": SNAP, **settings})


def test_a_calculator_without_results_has_no_labels() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = WithoutResults()
    with pytest.raises(InputError, match="no frame has an energy"):
        fw.read([atoms])
    assert fw.Dataset.from_ase([atoms])[0].labels.energy is None
    assert "rdf" in fw.analyze([atoms], "rdf", options={"rdf": {"r_max": 3.0}})


def test_nested_validation_of_an_element_in_one_frame() -> None:
    rng, frames = np.random.default_rng(0), []
    for number in range(8):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = "Ni" if number == 5 else "Cu"
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    with pytest.raises(InputError, match=r"no frame with Ni, which stands in one fold only \(frames 5\)"):
        fw.fit(frames, model=SNAP, validation={"kfold": 4, "nested": True})


def test_results_stand_for_their_folders(toy: dict[str, Any], tmp_path: Path, copper: Path) -> None:
    result = fw.fit(toy)
    assert fw.report(result) == result.folder / "report.html"
    with pytest.raises(InputError, match="in memory"):
        fw.report(fw.fit(fw.read(copper / "test.extxyz"), model=SNAP, workers=1))
    run = fw.simulate({
        "potential": {"ase": "ase.calculators.emt:EMT"}, "structure": {"bulk": "Cu", "cubic": True},
        "stages": [{"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.02}], "trajectory": {"every_fs": 5}, "output": str(tmp_path / "md"),
    })  # fmt: skip
    assert {"rdf", "thermodynamics"} <= set(fw.analyze(run, ["rdf", "thermodynamics"], options={"rdf": {"r_max": 1.7}}))
    with pytest.raises(InputError, match="holds a int"):
        fw.analyze([3])


@pytest.mark.parametrize("verb", ["analyze", "report"])
def test_help_tells_of_the_function(verb: str) -> None:
    import inspect
    import pydoc

    package = getattr(fw, verb)
    shown = pydoc.render_doc(package, renderer=pydoc.plaintext)
    first = "trajectory" if verb == "analyze" else "folder"
    assert f"{verb}({first}" in shown and "Raises" in shown and "As a package" in shown
    assert first in inspect.signature(package).parameters


def test_lines_of_a_journal_that_no_study_wrote(toy: dict[str, Any]) -> None:
    journal = fw.fit(toy).folder / "journal.log"
    before = journal.read_text()
    for line in ('{"op_code": 99}', '{"op_code": 4}', '{"op_code": "x"}', '{"op_code": null}', '{"op_code": 0}'):
        journal.write_text(f"{before}{line}\n")
        for run in (lambda: fw.fit(toy), lambda: read_trials(journal)):
            with pytest.raises(InputError, match="journal.log.*no study wrote"):
                run()


def test_trials_of_a_journal_that_no_study_wrote(toy: dict[str, Any]) -> None:
    journal = fw.fit(toy).folder / "journal.log"
    before = journal.read_text()
    for key, value in (("index", "i"), ("metrics", 3), ("seconds", "x")):
        changed = [json.loads(line) for line in before.splitlines()]
        for line in changed:
            if key in line.get("user_attr", {}):
                line["user_attr"][key] = value
            if key in line.get("user_attrs", {}):
                line["user_attrs"][key] = value
        journal.write_text("".join(json.dumps(line) + "\n" for line in changed))
        assert journal.read_text() != before
        with pytest.raises(InputError, match="journal.log.*no study wrote"):
            fw.fit(toy)


def test_points_that_cannot_be_read_are_measured_anew(copper: Path, tmp_path: Path) -> None:
    curve = {
        "data": {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")},
        "families": {"toy": {"model": {"kind": "toy", "cutoff": 4.0, "functions": 3}}}, "sizes": [5], "repeats": 1,
        "common": {"validation": {"external": str(copper / "test.extxyz")}, "workers": 1},
        "output": str(tmp_path / "curve"),
    }  # fmt: skip
    first = fw.learning_curve(curve).summary["families"]["toy"]["points"][0]
    (stored,) = (tmp_path / "curve" / "fits").rglob("point.json")
    content = json.loads(stored.read_text())
    for point in ({}, {"fit_s": 1.0}, 3, None, [], {**content["point"], "force_rmse_eV_per_A": "x"}):
        stored.write_text(json.dumps({**content, "point": point}))
        again = fw.learning_curve(curve).summary["families"]["toy"]["points"][0]
        assert again["force_rmse_eV_per_A"] == first["force_rmse_eV_per_A"] and set(again) == set(first)


def test_a_package_that_offers_nonsense_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raises_for_a_test.py").write_text("raise RuntimeError('no license')\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name, value, "forcewright.families") for name, value in (
            ("raising", "raises_for_a_test:FAMILY"), ("empty", ""), ("dots", "..:x"), ("good", "toy_family:FAMILY"),
            ("twice", "toy_family:FAMILY"), ("twice", "other:FAMILY"), ("number", "math:pi"),
        )
    ]  # fmt: skip
    monkeypatch.setattr("forcewright.models.entry_points", lambda **_: points)
    assert family_of("good").kind == "toy" and "raising" in families()
    for kind, words in (
        ("raising", "cannot be imported: RuntimeError: no license"), ("empty", "cannot be imported"),
        ("dots", "cannot be imported"), ("twice", "two installed packages offer"), ("number", "is not a Family"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            family_of(kind)
    references = {"raising": "raises_for_a_test:X", "empty": "", "number": "math:pi"}
    monkeypatch.setattr(
        "forcewright.reference.offered.entry_points",
        lambda name, **_: [EntryPoint(name, references[name], "forcewright.references")],
    )
    for name in references:
        with pytest.raises(InputError, match="cannot be imported|is not settings"):
            offered_reference(name, {}, tmp_path)
    sys.modules.pop("raises_for_a_test", None)


@pytest.mark.parametrize("verb", ["compare", "learning_curve", "tune"])
def test_a_missing_extra_is_noticed_before_any_work(
    verb: str, copper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forcewright.models.family.find_spec", lambda name: None)
    data = {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")}
    gap = {"model": {"kind": "gap", "soap": {"cutoff": 4.0, "n_max": 2, "l_max": 2, "n_sparse": 5}}}
    families = {"toy": {"model": {"kind": "toy", "cutoff": 4.0, "functions": 3}}, "gap": gap}
    settings = {"data": data, "output": str(tmp_path / "out"), **(gap if verb == "tune" else {"families": families})}
    with pytest.raises(MissingExtraError, match=r"pip install \"forcewright\[gap\]\""):
        getattr(fw, verb)(settings)
    assert not (tmp_path / "out").exists()
