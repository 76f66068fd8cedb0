from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_content import GROUPS, make_content, make_table, make_trials

from forcewright.report import ReportContent, Section, draw_convergence, grade_table, render, write_report
from forcewright.report.numbers import duration, memory, parameter, significant, with_error
from forcewright.report.search_figures import draw_cost, draw_search, draw_slices, pareto_front
from forcewright.report.tables import finding_row

VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Collects tags, text and everything that a browser would load; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def full() -> str:
    return render(make_content())


def test_page_is_well_formed_and_loads_nothing(full: str) -> None:
    page = Page(full)
    assert page.loads
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.loads)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\((?!#)", full)
    assert len(full) < 5e6


def test_page_shows_the_numbers(full: str) -> None:
    text, content = Page(full).text, make_content()
    errors = content.result["validation"]
    expected = with_error(errors["force_rmse_eV_per_A"], errors["standard_error"]["force_rmse_eV_per_A"])
    value, error = expected.split(" ± ")
    assert expected in text
    assert f"± {error} standard error, 250 frames" in text
    assert value in text
    for words in (
        "30 min 32 s", "1.3 GB", "31.2 µs/atom", "−48.123456", "3.2\u202f×\u202f10⁻⁸", "7c9e2f7c9e2f",
        "J. Comput. Phys.", "frame is left out", "twojmax: {low: 4, high: 8}", "The equations are singular",
    ):  # fmt: skip
        assert words in text, words
    assert all(text.count(group) >= 4 for group in GROUPS)


def test_page_has_every_figure(full: str) -> None:
    """Search, parities and groups of three labels in two sets, importance, slices, cost and the extra section."""
    assert Page(full).count("figure") == 1 + 2 * 3 + 3 + 1 + 1 + 1 + 1


def test_every_section_of_the_list_exists(full: str) -> None:
    ids = {attributes.get("id") for _, attributes in Page(full).tags}
    assert {target[1:] for target in Page(full).loads if target.startswith("#section")} <= ids


@pytest.mark.parametrize(("protocol", "shown"), [("xpot", True), ("kfold", False), ("nested", False), ("", False)])
def test_banner_warns_of_the_xpot_protocol_only(protocol: str, shown: bool) -> None:
    content = ReportContent("t", result={"protocol": protocol})
    assert ('class="banner"' in render(content)) is shown
    assert ("These errors are too small" in render(content)) is shown


def test_hostile_text_stays_text() -> None:
    evil = "<script>alert('$x$')</script>"
    names = (evil, "$\\frac{", "a&b \x00", "группа 水素", "<img src=x onerror=alert(1)>")
    table = make_table(10, 0, names)
    trials = make_trials(20)
    for trial in trials:
        trial["params"] = {evil: trial["params"]["rcut"], "kind": evil if trial["index"] % 2 else "b"}
        trial["error"] = evil
    content = ReportContent(
        title=evil, result={"validation": table.to_dict(), "command": evil, "versions": {evil: evil}}, config_text=evil,
        trials=trials, parity={evil: table.parity}, importance={evil: 1.0}, findings=[(evil,) * 5],
        citations=[{"key": evil, "text": evil}], sections=[Section(evil, evil)], reference_energies={evil: 1.0},
    )  # fmt: skip
    page = Page(render(content))
    assert page.count("script") == 0
    assert page.text.count(evil) > 8
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_nothing_at_all_is_still_a_page() -> None:
    page = Page(render(ReportContent("Nothing")))
    assert page.count("h2") == 10
    assert "No errors were measured." in page.text
    assert not re.search(r"\bnan\b", page.text.lower())


def errors_of(frames: int, groups: tuple[str, ...], *, stress: bool = True) -> dict[str, Any]:
    table = make_table(frames, 3, groups, stress=stress)
    return {"result": {"validation": table.to_dict(), "test": None}, "parity": {"validation": table.parity}}


FAILED = {"state": "failed", "phase": "initial", "loss": None, "params": {}, "error": "no"}
LOSSES = (1e-3, 1e8, float("inf"), None)
TWO = ("a", "b")
ABSENT: dict[str, tuple[dict[str, Any], int]] = {  # what there is, and how many figures that makes
    "no test set": (errors_of(6, TWO), 6),
    "no stress": (errors_of(6, TWO, stress=False), 4),
    "one group": (errors_of(5, ("default",)), 6),
    "one frame": (errors_of(1, ("default",)), 6),
    "all failed": ({"trials": [FAILED | {"index": index} for index in range(4)]}, 1),
    "one trial": ({"trials": make_trials(1)}, 0),
    "one parameter": ({"trials": [t | {"params": {"kind": t["params"]["kind"]}} for t in make_trials(15)]}, 3),
    "odd losses": ({"trials": [t | {"loss": LOSSES[t["index"] % 4]} for t in make_trials(12)]}, 3),
    "no cost": ({"trials": [t | {"cost_us_per_atom": None} for t in make_trials(12)]}, 2),
    "importance alone": ({"importance": {"rcut": 1.0}}, 1),
}


@pytest.mark.parametrize("name", ABSENT)
def test_absent_parts_leave_a_page(name: str) -> None:
    parts, figures = ABSENT[name]
    page = Page(render(ReportContent("t", **parts)))
    assert page.count("figure") == figures
    assert page.count("h2") == 10
    assert not re.search(r"\bnan\b", page.text.lower())


def test_many_findings_and_trials_stay_small() -> None:
    finding = ("warning", "train.extxyz", 1, "forces", "A force of 24.1 eV/Å.")
    page = render(ReportContent("t", findings=[finding] * 5000, trials=make_trials(1500)))
    assert "And 4900 more." in page
    assert len(page) < 3e6


def test_figures_of_nothing_are_none() -> None:
    assert draw_search([]) is draw_slices([]) is draw_cost([]) is None


CURVE = {"curve": [0.2, 0.15, None, 0.17], "linear_loss": 0.19, "iterations": 1, "kept": True}


def test_convergence_has_the_linear_fit_as_a_line_and_marks_the_choice() -> None:
    figure = draw_convergence(CURVE)
    assert figure is not None
    handles, labels = figure.axes[0].get_legend_handles_labels()
    drawn = dict(zip(labels, handles, strict=True))
    np.testing.assert_allclose(drawn["several densities"].get_xydata(), [[0, 0.2], [1, 0.15], [3, 0.17]])
    assert set(drawn["linear fit"].get_ydata()) == {0.19}
    np.testing.assert_allclose(drawn["chosen"].get_offsets(), [[1, 0.15]])
    assert "best, not kept" in draw_convergence({**CURVE, "kept": False}).axes[0].get_legend_handles_labels()[1]
    assert draw_convergence({"curve": [None]}) is draw_convergence({}) is None


def test_grades_are_a_table_in_a_section() -> None:
    row = {"atoms": 12, "median": 0.61, "percentile_95": 0.95, "max": 12345.6, "share_above_1": 0.025}
    table = grade_table({**row, "groups": {"bulk": row, "<b>": {**row, "max": None}}})
    text = Page(render(ReportContent("t", sections=[Section("Grades", "", (), [table])]))).text
    for words in ("bulk", "<b>", "0.610", "12\u202f346", "2.50\u202f%", "–", "largest γ"):
        assert words in text, words
    assert len(grade_table({**row, "groups": {"bulk": row}})["rows"]) == 1


def test_a_failed_trial_is_a_cross_and_never_a_point() -> None:
    figure = draw_search(make_trials())
    assert figure is not None
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {"failed", "best so far", "initial trial", "Bayesian trial", "chosen"} == set(labels)


def test_pareto_front_by_hand() -> None:
    assert pareto_front([1, 2, 3, 4, 2], [5, 3, 4, 1, 2]) == [0, 4, 3]


def test_cost_is_drawn_with_the_front_the_choice_and_the_limit() -> None:
    trials = make_trials()
    cheap = min((t for t in trials if t["loss"] is not None and t["cost_us_per_atom"] < 12), key=lambda t: t["loss"])
    cheap["chosen"] = True  # not the lowest loss of all
    figure = draw_cost(trials, 12.0)
    assert figure is not None
    for ax, key in zip(figure.axes[:3], ("loss", "energy_rmse_meV_per_atom", "force_rmse_eV_per_A"), strict=True):
        assert ax.get_xscale() == "log"
        handles, labels = ax.get_legend_handles_labels()
        drawn = dict(zip(labels, handles, strict=True))
        np.testing.assert_allclose(drawn["chosen"].get_offsets(), [[cheap["cost_us_per_atom"], cheap[key]]])
        assert drawn["limit"].get_xdata()[0] == 12.0
        x, y = drawn["Pareto front"].get_data()
        assert (np.diff(x) > 0).all() and (np.diff(y) < 0).all()
        done = [t for t in trials if t["loss"] is not None]
        for cost, error in zip(x, y, strict=True):
            assert not any(t["cost_us_per_atom"] < cost and t[key] < error for t in done)
    assert "limit" not in draw_cost(trials).axes[0].get_legend_handles_labels()[1]


def test_warnings_stand_on_top_of_the_page() -> None:
    text = render(ReportContent("t", result={"warnings": ["No setting keeps to <10> µs."]}))
    assert '<div class="banner" role="alert">No setting keeps to &lt;10&gt; µs.</div>' in text


def test_write_report_takes_a_folder_or_a_file(tmp_path: Path) -> None:
    assert write_report(tmp_path / "new" / "run", ReportContent("t")) == tmp_path / "new" / "run" / "report.html"
    assert write_report(tmp_path / "page.html", ReportContent("t")).read_text(encoding="utf-8").startswith("<!DOCTYPE")


def test_same_content_same_page() -> None:
    first, second = (render(ReportContent("t", trials=make_trials(5))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (significant(0.0123456), "0.0123"), (significant(-1234.5), "−1234"), (significant(12345.6), "12\u202f346"),
        (significant(3), "3"), (significant(1.5e-9), "1.50\u202f×\u202f10⁻⁹"), (significant(float("nan")), "–"),
        (significant(0.0), "0"), (significant(float("inf")), "∞"), (parameter(1e-8), "1\u202f×\u202f10⁻⁸"),
        (parameter(4.0), "4"), (parameter(True), "yes"), (with_error(12.345, 1.26), "12.3 ± 1.3"),
        (with_error(1234.5, 56.7), "1234 ± 57"), (with_error(5.0, 0.0), "5.000"), (duration(59.6), "1 min 0 s"),
        (duration(7200), "2 h 0 min"), (memory(5e6), "5 MB"),
    ],
)  # fmt: skip
def test_numbers_as_read(made: str, text: str) -> None:
    assert made == text


def test_findings_come_in_any_plain_shape() -> None:
    class Finding:
        severity, file, frame, field, message = "error", "a.xyz", 3, None, "bad"

    expected = {"severity": "error", "file": "a.xyz", "frame": "3", "field": "–", "message": "bad"}
    assert finding_row(Finding()) == expected
    assert finding_row(("error", "a.xyz", 3, None, "bad")) == expected
    assert finding_row({"severity": "error", "file": "a.xyz", "frame": 3, "message": "bad"}) == expected
