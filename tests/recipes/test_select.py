"""Selecting, splitting and describing files: what is written, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from command_line import run_here

from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.recipes.select import select, split
from forcewright.recipes.statistics import statistics
from forcewright.structure import Dataset, Frame, Labels, Structure


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper whose volume oscillates, and whose atoms wander slowly: neighbors in time are near-copies."""
    rng = np.random.default_rng(0)
    start = bulk("Cu", cubic=True)
    waves = rng.normal(scale=0.06, size=(3, 4, 3))
    frames = []
    for t in range(120):
        atoms = start.copy()
        atoms.positions += sum(w * np.sin(2 * np.pi * t / p) for w, p in zip(waves, (37, 53, 89), strict=True))
        atoms.set_cell(atoms.cell.array * (1 + 0.01 * np.sin(2 * np.pi * t / 20)), scale_atoms=True)
        labels = Labels(float(np.sin(t)), rng.normal(size=(4, 3)), group="npt", info={"trajectory": "npt", "step": t})
        frames.append(Frame(Structure.from_ase(atoms), labels))
    return write(Dataset(tuple(frames)), tmp_path_factory.mktemp("npt") / "npt.extxyz")


def test_selection_keeps_labels_and_order(copper: Path, tmp_path: Path) -> None:
    source = copper / "train.extxyz"
    available = []
    chosen = select(
        [source], tmp_path / "few.extxyz", by="fps", count=12, seed=1, options={"cutoff": 4.0}, on_read=available.append
    )
    stored = read(tmp_path / "few.extxyz")
    assert stored.content_hash == chosen.content_hash and (len(stored), available) == (12, [40])
    numbers = [int(frame.origin.rpartition("#")[2]) for frame in chosen]
    assert numbers == sorted(numbers)
    assert read(source)[numbers].content_hash == stored.content_hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "fsp"}, "did you mean 'fps'"),
        ({"by": "novelty"}, "needs a potential"),
        ({"by": "fps", "potential": "somewhere"}, "uses no potential"),
        ({"by": "random", "options": {"cutoff": 3}}, "it has none"),
        ({"by": "fps", "options": {"cutof": 3}}, "cutoff"),
        ({"by": "fps", "count": 5, "options": {"cutoff": "far"}}, "cannot use the options"),
        ({"count": 1000}, "there are 40 frames"),
    ],
)
def test_mistakes_of_a_selection_are_sentences(options: dict, words: str, copper: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        select([copper / "train.extxyz"], tmp_path / "none.extxyz", **options)
    assert not list(tmp_path.iterdir())


def test_a_split_tells_of_near_copies(trajectory: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "train.extxyz", tmp_path / "test.extxyz"]
    by_chance = split([trajectory], outputs, by="random")
    assert len(by_chance.copies) >= 10
    assert f"{trajectory}#" in by_chance.lines()[2]
    blocks = split([trajectory], outputs, by="blocks", options={"gap": 5})
    assert len(blocks.copies) < len(by_chance.copies) / 2 and 5 <= blocks.dropped <= 10
    train, test = (read(path) for path in outputs)
    assert len(test) == 12 and len(train) + len(test) + blocks.dropped == 120
    with pytest.raises(InputError, match="two different files"):
        split([trajectory], [outputs[0], outputs[0]])


def test_statistics_write_table_figures_and_page(trajectory: Path, copper: Path, tmp_path: Path) -> None:
    described = statistics([trajectory, copper / "train.extxyz"], tmp_path / "out", by="group")
    sets, series = described.sets, described.volumes
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "statistics.csv", "histograms.png", "volume.png", "report.html"
    }  # fmt: skip
    stored = json.loads((folder / "result.json").read_text())
    assert [one["name"] for one in stored["sets"]] == [one.name for one in sets] == ["bulk", "npt", "surface"]
    assert stored["sets"][1]["quantities"]["force_norm"]["mean"] == sets[1].summaries["force_norm"].mean
    assert len(series) == 1 and stored["volume_over_time"][0]["correlation_length"] > 20
    page = (folder / "report.html").read_text()
    assert "force norm" in page and "Volume over time" in page and "Shortest distances" in page
    assert "For the trajectory shown" in page


def test_commands(trajectory: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = run_here(*arguments, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert "20 of 120 frames" in run("select", trajectory, "--by", "time", "--count", 20, "-o", "few.extxyz")
    told = run("split", trajectory, "--by", "blocks", "--test", 0.1, "--gap", 5, "-o", "train.extxyz", "test.extxyz")
    assert "12 to test on" in told and len(read(tmp_path / "test.extxyz")) == 12
    assert "npt" in run("statistics", trajectory, "-o", "statistics")
    assert (tmp_path / "statistics/report.html").is_file()
    (tmp_path / "dimers.yaml").write_text(
        "recipes: [{kind: dimers, species: [H], distances_A: [0.5, 2], count: 5}]\noutput: dimers.extxyz\n"
    )
    assert "5 structures" in run("generate", "dimers.yaml")
    assert "did you mean 'fps'" in run("select", trajectory, "--by", "fsp", "--count", 2, "-o", "x.extxyz")
