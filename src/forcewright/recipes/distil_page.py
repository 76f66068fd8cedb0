"""The page of a distillation: errors of students to teacher and labels, audit of the teacher, physics, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, Section, draw_distillation, write_report
from forcewright.report.numbers import DASH, significant


def write_distil_page(folder: Path, summary: Mapping[str, Any], text: str, pages: Sequence[str]) -> Path:
    """Write report.html and return its path.

    Parameters
    ----------
    summary
        Content of result.json.
    text
        The config.
    pages
        Folders inside that have pages of their own.
    """
    last, made, speed = summary["students"][-1], summary["made"], summary["speed"]
    cards = [
        Card("faster than the teacher", f"{speed['ratio']:.3g}", "times",
             f"{significant(speed['student_us_per_atom'])} µs per atom"),
        Card("structures labelled", str(made["labelled"]), "",
             "" if made["calls_each"] is None else f"{made['calls_each']:.3g} teacher calls each"),
        Card("force RMSE to the teacher", significant(last["force_rmse_eV_per_A"]), "eV/Å", "cross-validated"),
    ]  # fmt: skip
    if last["to_labels"] is not None:
        cards.append(Card("force MAE to the labels", significant(last["to_labels"]), "eV/Å",
                          f"teacher {significant(last['teacher_to_labels'])}"))  # fmt: skip
    sections = [
        Section(
            "Students",
            "Mean absolute errors of force components on the test set, which neither teacher nor student has seen: x "
            "of the student to its teacher, y to the labels, λ of the teacher to the labels. Errors that have nothing "
            "to do with each other would make y = √(x² + λ²); a negative correlation says that the student takes some "
            "of the teacher's error back.",
            draw_distillation(summary["students"], summary["direct"]), [_students_table(summary)], paired=True,
        ),
    ]  # fmt: skip
    if summary["audit"] is not None:
        sections.append(_audit_section(summary["audit"]))
    if summary["physics"] is not None:
        sections.append(_physics_section(summary["physics"]))
    sections.append(Section("Where it comes from", "\n\n".join(summary["notice"])))
    page = PageContent(
        title=folder.name, kicker="Forcewright distil", cards=cards, sections=sections,
        summary=f"A student of {summary['teacher']}: {made['structures']} structures were made and labelled by the "
        f"teacher ({', '.join(f'{name} {count}' for name, count in made['groups'].items())}), and the student was "
        "fitted to them.",
        facts=[("teacher, µs per atom", significant(speed["teacher_us_per_atom"])),
               ("student, µs per atom", significant(speed["student_us_per_atom"])),
               ("atoms they were timed on", str(speed["atoms"]))],
        result=dict(summary), config_text=text, citations=provenance.cited(["forcewright", "ase"]),
        links=[(name, f"{name}/report.html") for name in pages],
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _students_table(summary: Mapping[str, Any]) -> dict[str, Any]:
    headings = [("fitted to", ""), ("x", "eV/Å"), ("y", "eV/Å"), ("λ", "eV/Å"), ("√(x² + λ²)", "eV/Å"),
                ("correlation", ""), ("cross-validated force RMSE", "eV/Å"), ("energy RMSE", "meV/atom"),
                ("cost", "µs/atom")]  # fmt: skip
    keys = ("to_teacher", "to_labels", "teacher_to_labels", "expected", "correlation", "force_rmse_eV_per_A",
            "energy_rmse_meV_per_atom", "cost_us_per_atom")  # fmt: skip
    rows = [
        [f"{row['frames']} structures", *(DASH if row[key] is None else significant(row[key]) for key in keys)]
        for row in summary["students"]
    ]
    if (direct := summary["direct"]) is not None:
        known = {**dict.fromkeys(keys), **direct}
        rows.append([f"{direct['frames']} labels alone", *(DASH if known[k] is None else significant(known[k])
                                                           for k in keys)])  # fmt: skip
    return {"headings": headings, "rows": rows, "style": "plain"}


def _audit_section(audit: Mapping[str, Any]) -> Section:
    def shown(key: str) -> str:
        return DASH if audit[key] is None else significant(audit[key])

    rows = [
        ["slope of its forces on the labels' (below 1: too soft)", shown("force_slope"), ""],
        ["force MAE", shown("force_mae_eV_per_A"), "eV/Å"], ["force RMSE", shown("force_rmse_eV_per_A"), "eV/Å"],
        ["energy RMSE, constants per element aside", shown("energy_rmse_meV_per_atom"), "meV/atom"],
        ["force less derivative of the energy, largest", shown("largest_derivative_error_eV_per_A"), "eV/Å"],
        *([f"offset of {symbol}", significant(value, 4), "eV"] for symbol, value in audit["offsets_eV"].items()),
        *([f"force RMSE of {name}", significant(value), "eV/Å"] for name, value in audit["groups"].items()),
    ]  # fmt: skip
    text = f"What the teacher, as it came, says of {audit['frames']} labelled frames" + (
        "." if not audit["failures"] else f"; it had no answer to {audit['failures']} of them."
    )
    table = {"headings": [("number", ""), ("value", ""), ("unit", "")], "rows": rows, "style": "plain"}
    return Section("The teacher", text, [], [table])


def _physics_section(physics: Mapping[str, Any]) -> Section:
    def shown(value: Any) -> str:
        return significant(value, 4) if isinstance(value, int | float) else DASH if value is None else str(value)

    rows = [[row["property"].replace("_", " "), row["number"], shown(row["student"]), shown(row["teacher"]),
             row["unit"], row["verdict"]] for row in physics["rows"]]  # fmt: skip
    headings = [(name, "") for name in ("property", "number", "student", "teacher", "unit", "verdict")]
    text = f"{physics['passed']} of {physics['of']} numbers of the student lie within their tolerance of the teacher's."
    return Section("Physics", text, [], [{"headings": headings, "rows": rows, "style": "plain"}])
