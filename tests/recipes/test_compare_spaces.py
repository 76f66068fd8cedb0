"""compare-spaces: files, pages and frames to add, from any kind of source; what is missing is told before any work."""

from __future__ import annotations

import builtins
import csv
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from command_line import run_here

import forcewright as fw
from forcewright.errors import InputError, MissingExtraError
from forcewright.recipes.compare_spaces import SpacesCompared
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot, open_writer


def crystals(count: int, displacement: float, seed: int, edge: float = 5.3) -> list[Atoms]:
    """A run: displacements that follow one another in time."""
    rng, shift, frames = np.random.default_rng(seed), np.zeros((4, 3)), []
    for index in range(count):
        shift = 0.5 * shift + displacement * rng.normal(size=(4, 3))
        atoms = bulk("Ar", "fcc", edge, cubic=True)
        atoms.positions += shift
        atoms.info["time"] = 100.0 * index
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SpacesCompared]:
    folder = tmp_path_factory.mktemp("spaces")
    ase.io.write(folder / "cold.extxyz", crystals(30, 0.05, 1))
    ase.io.write(folder / "hot <b>.extxyz", crystals(24, 0.3, 2))
    done = fw.compare_spaces(
        folder / "cold.extxyz", folder / "hot <b>.extxyz", folder / "out", descriptor="ace", cutoff=5.0, add=4
    )
    return folder / "out", done


def test_a_hot_run_goes_beyond_a_cold_one(written: tuple[Path, SpacesCompared]) -> None:
    folder, done = written
    assert done.sides.b.coverage.value < 0.3
    assert len(done.missing_in_a) == 4 and len(done.missing_in_b) <= 1
    assert done.a.timed and done.a.times[-1] == pytest.approx(2.9)
    assert done.distances.shape == (54, 54) and done.largest is not None
    result = json.loads((folder / "result.json").read_text())
    assert result["b"]["covered_by_a"] == pytest.approx(done.sides.b.coverage.value)
    assert result["missing_in_a"] == done.missing_in_a.tolist()
    assert len(result["data_hashes"]) == 2 and result["written_by"] == "compare-spaces"
    with open(folder / "frames.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 54 and float(rows[0]["to_first"]) == 0.0
    assert float(rows[30]["to_nearest"]) == pytest.approx(done.distances[30, :30].min())
    assert len(fw.read(folder / "missing_in_a.extxyz", require_energy=False)) == 4
    added = ase.io.read(folder / "missing_in_a.extxyz", 0)
    assert added.info["taken_from"].endswith(f"hot <b>.extxyz#{done.missing_in_a[0]}")
    with np.load(folder / "distances.npz") as arrays:
        assert arrays["distances"] == pytest.approx(done.distances)


def test_the_map_opens_without_a_network(written: tuple[Path, SpacesCompared]) -> None:
    page = (written[0] / "map.html").read_text()
    assert not re.search(r"(src|href)\s*=|https?://|@import|fetch\(", page)
    assert "hot <b>" not in page  # escaped, in the heading and in the data

    class Data(HTMLParser):
        inside = False
        text = ""

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.inside = ("id", "data") in attributes

        def handle_data(self, data: str) -> None:
            self.text += data if self.inside else ""

    parser = Data()
    parser.feed(page)
    data = json.loads(parser.text.split("\n")[0])
    assert len(data["points"]) == len(data["structures"]) == 54
    assert data["sets"][1] == "B (hot <b>.extxyz)"
    numbers, positions, cell = data["structures"][0]
    assert numbers == [18] * 4 and len(positions) == 12 and cell[0] == 530
    assert set(data["properties"]) >= {"frame", "time (ps)", "largest atomic distance"}
    report = (written[0] / "report.html").read_text()
    assert 'href="map.html"' in report and "Frames to add to A" in report


def test_the_file_for_chemiscope_is_what_chemiscope_makes(written: tuple[Path, SpacesCompared]) -> None:
    with gzip.open(written[0] / "map.chemiscope.json.gz") as file:
        content = json.load(file)
    assert {"meta", "structures", "properties", "settings"} == set(content)
    assert all(len(entry["values"]) == 54 for entry in content["properties"].values())
    assert content["structures"][0]["names"] == ["Ar"] * 4
    chemiscope = pytest.importorskip("chemiscope")
    frames = [frame.structure.to_ase() for part in (written[1].a, written[1].b) for frame in part.frames]
    theirs = chemiscope.create_input(structures=frames, properties={"x": written[1].coordinates[:, 0]})
    assert set(theirs["structures"][0]) == set(content["structures"][0])
    assert theirs["structures"][5]["x"] == pytest.approx(content["structures"][5]["x"], abs=1e-3)
    assert theirs["properties"]["x"]["target"] == content["properties"]["frame"]["target"]


def test_any_source_will_do(tmp_path: Path) -> None:
    frames = crystals(8, 0.1, 3)
    options = {"descriptor": "ace", "cutoff": 5.0}
    reference = fw.compare_spaces(frames, crystals(9, 0.1, 4), **options)  # type: ignore[arg-type]
    shots = [Snapshot(Structure.from_ase(f), time=100.0 * k) for k, f in enumerate(frames)]
    (tmp_path / "run").mkdir()
    writer = open_writer(tmp_path / "run" / "trajectory.h5")
    for shot in shots:
        writer.write(shot)
    writer.finish()
    ase.io.write(tmp_path / "frames.traj", frames)
    ase.io.write(tmp_path / "frames.db", frames)
    ase.io.write(tmp_path / "frames.xyz.gz", frames, format="extxyz")
    sources = [shots, fw.Dataset.from_ase(frames), tmp_path / "run", str(tmp_path / "run" / "trajectory.h5")]
    sources += [tmp_path / f"frames.{suffix}" for suffix in ("traj", "db", "xyz.gz")]
    for source in sources:
        done = fw.compare_spaces(source, crystals(9, 0.1, 4), **options)  # type: ignore[arg-type]
        assert done.distances == pytest.approx(reference.distances, abs=1e-4), source
    assert fw.compare_spaces(tmp_path / "run", frames, frames=5, skip=2, **options).a.indices.tolist() == [
        2,
        3,
        4,
        6,
        7,
    ]  # type: ignore[arg-type]


def test_predictions_of_a_simulation_are_no_labels(tmp_path: Path) -> None:
    frames = crystals(6, 0.05, 5)
    far = crystals(6, 0.5, 6)
    for atoms in far:
        atoms.info["energy"] = -1.0
    for name in ("labelled.extxyz", "run/trajectory.extxyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        ase.io.write(tmp_path / name, far)
    (tmp_path / "run" / "config.resolved.yaml").write_text("potential: somewhere\nstages: []\n")
    for source, labelled in (("labelled.extxyz", True), ("run", False)):
        fw.compare_spaces(frames, tmp_path / source, tmp_path / f"out-{labelled}", descriptor="ace", cutoff=5.0)
        added = fw.read(tmp_path / f"out-{labelled}" / "missing_in_a.extxyz", require_energy=False)
        assert (added[0].labels.energy is not None) == labelled


def test_a_broken_end_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = crystals(8, 0.1, 7)
    frames[-1].positions[0] = np.nan
    ase.io.write(tmp_path / "broken.extxyz", frames)
    done = fw.compare_spaces(tmp_path / "broken.extxyz", crystals(8, 0.1, 8), descriptor="ace", cutoff=5.0)
    assert len(done.a.frames) == 7 and "left out" in caplog.text


@pytest.mark.parametrize("descriptor", ["soap", "acsf", "bispectrum", "ewald"])
def test_other_descriptors(descriptor: str) -> None:
    if descriptor != "bispectrum":
        pytest.importorskip("dscribe")
    done = fw.compare_spaces(crystals(6, 0.02, 9), crystals(5, 0.3, 10), descriptor=descriptor, cutoff=4.0)
    assert np.isfinite(done.distances).all() and done.sides.b.coverage.value < 0.5
    assert (done.largest is None) == (descriptor == "ewald")


def test_on_the_command_line(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", crystals(6, 0.1, 1))
    ended = run_here("compare-spaces", "a.extxyz", "a.extxyz", "--descriptor", "ace", "-o", "out", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "lie within the spread of" in ended.stdout and (tmp_path / "out" / "report.html").is_file()
    assert not list((tmp_path / "out").glob("missing_in_*"))  # nothing is missing in the same run
    ended = run_here("compare-spaces", "a.extxyz", "none.extxyz", "--descriptor", "ace", cwd=tmp_path)
    assert ended.returncode == 1 and "none.extxyz: does not exist" in ended.stderr
    assert not (tmp_path / "spaces").exists()


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    frames = crystals(6, 0.1, 1)
    wrong: list[dict[str, object]] = [
        {"descriptor": "soup"}, {"kernel": "worst"}, {"gamma": 0.0}, {"map": "tsne"}, {"halves": "thirds"}, {"share": 2.0},
        {"frames": 3}, {"skip": -1}, {"skip": 6}, {"add": -1}, {"cutoff": -1.0},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(InputError):
            fw.compare_spaces(frames, frames, **{"descriptor": "ace", **options})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A has 2 frames"):
        fw.compare_spaces(frames[:2], frames, descriptor="ace")
    (tmp_path / "result.json").write_text('{"written_by": "tune"}')
    with pytest.raises(InputError, match="another output"):
        fw.compare_spaces(frames, frames, tmp_path, descriptor="ace")


@pytest.mark.parametrize("package, options", [("dscribe", {}), ("umap", {"descriptor": "ace", "map": "umap"})])
def test_a_missing_extra_is_told_before_anything_is_read(
    package: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **rest: object) -> object:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install \"forcewright\["):
        fw.compare_spaces("not there.extxyz", "neither.extxyz", **options)  # type: ignore[arg-type]


@pytest.mark.slow  # umap compiles for a minute
def test_a_map_by_umap() -> None:
    pytest.importorskip("umap")
    done = fw.compare_spaces(crystals(20, 0.05, 1), crystals(20, 0.3, 2), descriptor="ace", cutoff=5.0, map="umap")  # type: ignore[arg-type]
    assert done.coordinates.shape == (40, 2) and np.isfinite(done.coordinates).all()
