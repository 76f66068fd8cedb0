"""Cite: BibTeX that says what the reports say."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from command_line import run_here

import forcewright as fw
from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.models.active_sets import GRADE_CITATIONS
from forcewright.recipes import provenance
from forcewright.recipes.bibliography import ENTRIES, bibtex

MADE = Path(__file__).parent / "earlier_version/made"
TEXTS: dict[str, str] = {**provenance._CITATIONS, **GRADE_CITATIONS}
for kind in FAMILIES:
    TEXTS |= getattr(importlib.import_module(f"forcewright.models.{kind}.hyperparameters"), "_CITATIONS", {})


def test_every_citation_has_an_entry_and_no_entry_is_of_nothing() -> None:
    assert set(ENTRIES) == set(TEXTS)


@pytest.mark.parametrize("key", sorted(set(ENTRIES) - {"forcewright"}))
def test_entries_say_what_the_reports_say(key: str) -> None:
    kind, fields = ENTRIES[key]
    text = TEXTS[key]
    for author in fields["author"].split(" and "):
        surname, _, first = author.partition(", ")
        assert author == "others" or surname in text
        assert author == "others" or f"{first[0]}." in text
    assert ("and others" in fields["author"]) == ("et al." in text)
    for name in ("title", "volume", "pages", "year", "journal", "booktitle", "publisher"):
        assert fields.get(name, "") in text, name
    assert {"article": "journal", "book": "publisher", "incollection": "booktitle", "inproceedings": "booktitle",
            "misc": "title"}[kind] in fields  # fmt: skip


def test_a_study(tmp_path: Path) -> None:
    text = fw.cite(MADE / "ace")
    shown = json.loads((MADE / "ace/report.json").read_text())["citations"]
    assert re.findall(r"^@\w+\{([^,]+),$", text, re.M) == [entry["key"] for entry in shown]
    assert text.count("{") == text.count("}") and "10.1103/PhysRevB.99.014104" in text
    assert fw.cite(MADE / "ace/potential") == text
    done = run_here("cite", MADE / "gap", cwd=tmp_path)
    assert done.returncode == 0 and "@article{gap," in done.stdout


@pytest.mark.parametrize("run", ["comparison", "curve"])
def test_other_runs(run: str, tmp_path: Path) -> None:
    for name in ("result.json", "config.resolved.yaml"):
        (tmp_path / name).write_text((MADE / run / name).read_text().replace("@HERE@", str(MADE)))
    keys = re.findall(r"^@\w+\{([^,]+),$", fw.cite(tmp_path), re.M)
    assert {"forcewright", "ase", "snap", "lammps"} <= set(keys) and len(set(keys)) == len(keys)


def test_a_simulation_cites_the_study_of_its_potential(tmp_path: Path) -> None:
    run = tmp_path / "md"
    stages = [{"ensemble": "nvt", "temperature_K": 100, "time_ps": 0.002}]
    start = {"potential": str(MADE / "ace"), "structure": {"bulk": "Cu"}, "trajectory": {"every_fs": 1}}
    fw.simulate({**start, "stages": stages, "output": str(run)})
    text = fw.cite(run)
    assert "@article{ace," in text and text.count("@misc{forcewright,") == 1


def test_works_of_other_packages_become_notes() -> None:
    text = bibtex([{"key": "my work: 100 %", "text": "A. B. {C}, Title_1 & more (2030)."}])
    assert text.startswith("@misc{my-work-100,\n") and r"A. B. C, Title\_1 \& more (2030)." in text


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the output folder of a run that has finished"):
        fw.cite(tmp_path)
