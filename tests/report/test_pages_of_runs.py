"""What pages show beside figures: links to one another, paths, worst frames, structures, and the end of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from forcewright.accuracy.errors import compare
from forcewright.accuracy.parity import Parity
from forcewright.accuracy.worst import worst_frames
from forcewright.potential import Prediction
from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, ReportContent, Section, draw_run, draw_structure, render, write_report
from forcewright.report.error_figures import draw_groups
from forcewright.structure import Dataset, Frame, Labels, Structure


def predicted() -> tuple[Dataset, list[Prediction]]:
    """Twelve frames of salt whose chlorine is predicted worse by a factor of 3, and frame 5 by one of 10."""
    rng, frames, predictions = np.random.default_rng(0), [], []
    for k in range(12):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        structure = Structure.from_ase(atoms)
        errors = rng.normal(0, 0.1, (8, 3)) * np.where(atoms.numbers == 17, 3.0, 1.0)[:, None] * (10 if k == 5 else 1)
        frames.append(Frame(structure, Labels(-1.0 * k, np.zeros((8, 3)), group="g"), f"/data/salt.extxyz#{k + 3}"))
        predictions.append(Prediction(-1.0 * k + 0.008 * (k == 7), errors))
    return Dataset(tuple(frames)), predictions


def test_forces_of_each_element_have_their_errors(tmp_path: Path) -> None:
    dataset, predictions = predicted()
    table = compare(dataset, predictions)
    for symbol, number in (("Na", 11), ("Cl", 17)):
        errors = np.concatenate(
            [p.forces[s.numbers == number] for s, p in zip(dataset.structures, predictions, strict=True)]
        )
        found = table.elements[symbol]
        assert found["atoms"] == len(errors) and found["force_rmse_eV_per_A"] == pytest.approx(
            np.sqrt(np.mean(errors**2))
        )
        assert found["force_mae_eV_per_A"] == pytest.approx(np.abs(errors).mean())
        assert found["largest_force_error_eV_per_A"] == pytest.approx(np.linalg.norm(errors, axis=1).max())
    back = type(table).from_dict(table.to_dict(), Parity.load(table.parity.save(tmp_path / "p.npz")))
    assert back.elements == table.elements
    page = render(ReportContent("t", result={"validation": table.to_dict(), "test": None}))
    assert "Validation, by element" in page and "largest error of a force" in page


def test_the_worst_frames_are_named_and_drawn() -> None:
    dataset, predictions = predicted()
    worst = worst_frames(dataset, compare(dataset, predictions).parity, 3)
    assert [(frame["file"], frame["frame"]) for frame in worst[:2]] == [
        ("/data/salt.extxyz", 10),
        ("/data/salt.extxyz", 8),
    ]
    assert worst[0]["energy_error_meV_per_atom"] == pytest.approx(1.0)
    errors = np.linalg.norm(predictions[5].forces, axis=1)
    assert (worst[1]["atom"], worst[1]["force_error_eV_per_A"]) == (int(errors.argmax()), pytest.approx(errors.max()))
    figure = draw_structure(worst[1]["structure"], [worst[1]["atom"]])
    (ax,) = figure.axes
    assert len(ax.collections[1].get_paths()) == 8 and len(ax.patches) == 1  # eight atoms, one of them in a ring
    nothing = worst_frames(
        dataset, compare(dataset, [Prediction(-1.0 * k, np.zeros((8, 3))) for k in range(12)]).parity
    )
    assert nothing == []


def test_sections_stand_by_rank_and_their_cards_at_the_top() -> None:
    physics = Section("Physics", "It holds.", rank=36, cards=[Card("physics", "9 of 9")])
    page = render(
        ReportContent("t", sections=[Section("Else"), physics, Section("Stability", rank=32)], loss="The loss is x.")
    )
    places = [page.index(f"</span>{title}</h2>") for title in
              ("Summary", "Errors by group", "Stability", "Physics", "Loss over trials", "Data audit", "Else", "All trials")]  # fmt: skip
    assert places == sorted(places) and page.index("9 of 9") < places[1] and "The loss is x." in page


def test_units_stand_beside_hyperparameters_and_weights() -> None:
    trials = [{"index": k, "state": "complete", "loss": 1.0 + k, "params": {"rcut": 4.0 + k}} for k in range(3)]
    chosen = {
        "rcut": 4.5,
        "repulsion": {"inner": {"Si-Si": 2.0}, "width": 0.2},
        "zbl": {"inner": {"Si-Si": 1.2}},
        "weights": {"g": {"energy": 100.0, "stress": 2.0}},
    }
    units = {"rcut": "Å", "repulsion.inner": "Å", "zbl.inner": "Å"}
    page = render(ReportContent("t", trials=trials, chosen=chosen, units=units))
    for words in (
        "4.5 Å",
        "2 Å",
        "inner (Å)",
        "energy (atom/eV)",
        "stress (atom/eV)",
        "rcut<small>Å</small>",
        "rcut (Å)",
    ):
        assert words in page, words


def test_pages_around_are_linked_both_ways_once(tmp_path: Path) -> None:
    run = write_report(tmp_path / "run", PageContent("a run", "Forcewright simulation"))
    for _ in range(2):
        inner = write_report(tmp_path / "run" / "analysis & more", PageContent("inside", "Forcewright analyses"))
    study = write_report(tmp_path / "run" / "studies" / "ace", PageContent("ace", "Forcewright report"))
    above = run.read_text()
    assert above.count('<a href="analysis%20%26%20more/report.html">analyses (analysis &amp; more)</a>') == 1
    assert '<a href="studies/ace/report.html">report (ace)</a>' in above
    assert '<a href="../report.html">simulation (run)</a>' in inner.read_text()
    assert '<a href="../../report.html">simulation (run)</a>' in study.read_text()
    early = write_report(tmp_path / "later" / "run-0", PageContent("first", "Forcewright simulation"))
    write_report(tmp_path / "later", PageContent("all", "Forcewright survival"))
    assert '<a href="../report.html">survival (later)</a>' in early.read_text()
    (tmp_path / "report.html").write_text("<html>of somebody else</html>")
    assert "somebody" not in write_report(tmp_path / "run", PageContent("a run")).read_text()
    assert (tmp_path / "report.html").read_text() == "<html>of somebody else</html>"


def test_paths_are_relative_unless_asked_for(tmp_path: Path) -> None:
    folder = (tmp_path / "runs" / "mo").resolve()
    train = folder.parents[1] / "data" / "train.extxyz"
    result = {"command": f"forcewright tune {folder.parents[1]}/mo.yaml", "data_hashes": {str(train): "0" * 64}}
    content = PageContent(
        "t", summary=f"Read '{train}', frame 3; see {train}. 2 eV/Å and 1/2/3, https://example.org/a/b.", result=result,
        config_text=f"data:\n  train: {train}\n  other: /elsewhere/far/away/x.xyz\noutput: {folder}\n",
    )  # fmt: skip
    page = write_report(folder, content).read_text()
    assert str(tmp_path) not in page and "../../data/train.extxyz&#39;, frame 3; see ../../data/train.extxyz. 2" in page
    for words in ("2 eV/Å and 1/2/3, https://example.org/a/b.", "other: …/away/x.xyz", "forcewright tune ../../mo.yaml",
                  "output: .\n"):  # fmt: skip
        assert words in page, words
    assert str(train) in write_report(folder, content, absolute_paths=True).read_text()


@pytest.mark.parametrize(
    ("argv", "original", "command"),
    [
        (["/opt/bin/forcewright", "tune", "my file.yaml"], [], "forcewright tune 'my file.yaml'"),
        (["study.py", "--fast"], ["/usr/bin/python3.11", "study.py", "--fast"], "python3.11 study.py --fast"),
        (["-c"], ["python", "-c", "x" * 500], "python -c '…'"),
        ([""], ["/opt/bin/python"], "python"),
    ],
)
def test_the_command_is_the_one_that_was_given(
    argv: list[str], original: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    record = provenance.record()
    assert record["command"] == command and record["date"][4] == "-" and record["date"][10] == "T"
    page = render(PageContent("t", result=record))
    assert "date" in page and record["date"] in page


def test_the_end_of_a_broken_run_does_not_flatten_what_was_before() -> None:
    time = np.arange(200) / 100
    kelvin = 300 + 20 * np.sin(time * 9)
    broken = np.concatenate([kelvin[:-2], [5e4, 3e6]])
    thermo: dict[str, Any] = {"time_ps": time, "temperature_K": broken, "potential_eV": np.full(200, -5.0)}
    temperature, energy = draw_run(thermo, 1)
    low, high = temperature.axes[0].get_ylim()
    assert 250 < low < 290 and 320 < high < 400 and "the end reaches 3e+06" in temperature.axes[0].texts[-1].get_text()
    calm = draw_run({**thermo, "temperature_K": kelvin}, 1)[0].axes[0]
    assert not [text for text in calm.texts if "cut off" in text.get_text()]
    assert not energy.axes[0].texts and draw_run({"time_ps": [0.0], "temperature_K": [1.0]}, 1) == []


def test_errors_of_groups_that_differ_much_are_drawn_on_a_logarithmic_axis() -> None:
    groups = {"a": {"energy_rmse_meV_per_atom": 1.0}, "b": {"energy_rmse_meV_per_atom": 300.0}}
    (figure,) = draw_groups({"Test": {"groups": groups}})
    assert figure.axes[0].get_xscale() == "log" and figure.axes[0].get_xlim()[0] < 1.0
