"""The page of a learner: growth of the data, novelty, survival against labels, errors, and what each round added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forcewright.configs import StrictModel
from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, Section, draw_learning, write_report
from forcewright.report.numbers import DASH, duration, significant

_ROWS = 200  # frames that are listed


def write_learn_page(
    folder: Path, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], settings: StrictModel, text: str
) -> Path:
    """Write report.html and return its path.

    Parameters
    ----------
    summary
        Content of result.json.
    rows
        A flat row for each round.
    text
        The config.
    """
    del settings
    rounds = summary["rounds"]
    taken = sum(row["taken"] for row in rows)
    cards = [Card("labels", str(summary["labels"]), "", f"{taken} of them used, in {len(rows)} rounds")]
    if rows:
        last = rows[-1]
        cards.append(Card("training frames", str(last["frames"]), "", f"{rows[0]['frames']} at the start"))
        cards.append(
            Card("walkers that came to their end", f"{last['completed']} of {last['walkers']}", "", "last round")
        )
        cards.append(Card("labelling", duration(sum(row["reference_s"] for row in rows)), "", summary["reference"]))
    page = PageContent(
        title=folder.name, kicker="Forcewright learn", warnings=summary["warnings"],
        summary=f"The learner ended after {len(rows)} rounds: {summary['reason']}.", cards=cards,
        sections=[
            Section(
                "Round by round",
                "Each round fits to all data so far, lets the walkers go on, and labels what is new to the potential. "
                "How far walkers came counts from the beginning of their way.",
                draw_learning(rows, rounds), [_rounds_table(rows)], paired=True,
            ),
            Section(
                "What each round added, and why",
                "Every frame that was labelled: where it was met, and how far its most uncertain atom lay beyond "
                "the limit, which 1 % of frames held back exceed unless the config says another share.",
                [], [_frames_table(rounds)],
            ),
        ],
        result=dict(summary), config_text=text, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _rounds_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    headings = [("round", ""), ("frames", ""), ("labels", ""), ("used", ""), ("to their end", ""),
                ("mean way", "ps"), ("energy RMSE", "meV/atom"), ("force RMSE", "eV/Å"), ("time", "")]  # fmt: skip
    cells = [
        [
            str(row["round"]), str(row["frames"]), str(row["labels"]), str(row["taken"]),
            f"{row['completed']} of {row['walkers']}", significant(row["reached_ps"]),
            significant(row["energy_rmse_meV_per_atom"]), significant(row["force_rmse_eV_per_A"]),
            duration(row["wall_s"]),
        ]
        for row in rows
    ]  # fmt: skip
    return {"headings": headings, "rows": cells, "style": "plain"}


def _frames_table(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    headings = [("round", ""), ("walker", ""), ("at", "ps"), ("beyond the limit", "times"), ("why", ""), ("used", "")]
    cells = [
        [
            str(number), row["walker"], significant(row["time_ps"]),
            DASH if row["novelty"] is None else significant(row["novelty"]), row["why"],
            f"no: {row['rejected']}" if "rejected" in row else "yes",
        ]
        for number, done in enumerate(rounds)
        for row in done["chosen"]
    ]  # fmt: skip
    return {"headings": headings, "rows": cells[:_ROWS], "style": "plain"}
