"""Files of a stranger run nothing, and neither terminals nor pages do what they say."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.build import bulk
from command_line import run_here

import forcewright as fw
from forcewright.data import write
from forcewright.errors import InputError
from forcewright.files import write_json
from forcewright.fitting.family_fit import trial_files
from forcewright.models import FAMILIES, load
from forcewright.models.ase_calculator import calculator_factory
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.models.storage import write_potential
from forcewright.recipes.outputs import rebuild_report
from forcewright.structure import Dataset
from forcewright.terminal import visible


@pytest.fixture(autouse=True)
def _no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCEWRIGHT_ALLOW_COMMANDS", raising=False)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that a stranger's program would make."""
    return tmp_path / "marker"


def stranger(folder: Path, marker: Path) -> Path:
    """Write a potential whose program makes the marker."""
    files = {"model.json": b"{}"}
    predict = {"command": [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]}
    content = {
        "species": ["Cu"], "cutoff": 4.0, "predict": predict, "values": {},
        "files": {"model.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
    }  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    return write_potential(folder, "command", content, files=files)


CALLS = [
    ("os:system", {"command": "touch {marker}"}), ("subprocess:call", {"args": ["touch", "{marker}"]}),
    ("pathlib:Path.touch", {"self": "{marker}"}), ("builtins:open", {"file": "{marker}", "mode": "w"}),
    ("ase.calculators.emt:np.save", {"file": "{marker}", "arr": [1]}),
    ("ase.calculators.lj:PropertyNotImplementedError", {}),
    ("numpy:save", {"file": "{marker}", "arr": [1]}), ("ase.io:write", {"filename": "{marker}", "images": []}),
    ("ase.calculators.calculator:FileIOCalculator", {"command": "touch {marker}"}),
    ("ase.calculators.lammpslib:LAMMPSlib", {"lmpcmds": ["shell touch {marker}"]}),
    ("a_stranger_s_module:make", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs"), CALLS)
def test_no_function_is_called_by_its_name(name: str, kwargs: Any, marker: Path, monkeypatch) -> None:
    kwargs = json.loads(json.dumps(kwargs).replace("{marker}", str(marker)))
    (marker.parent / "a_stranger_s_module.py").write_text(f"open({str(marker)!r}, 'w')\ndef make(): return 1\n")
    monkeypatch.syspath_prepend(marker.parent)
    copper = marker.parent / "copper.xyz"
    write(Dataset.from_ase([bulk("Cu", cubic=True)]), copper)
    source = {"ase": name, "kwargs": kwargs}
    runs = [
        lambda: fw.label({"reference": source, "structures": str(copper), "output": str(copper.with_name("l.extxyz"))}),
        lambda: fw.simulate(
            {"potential": source, "structure": {"bulk": "Cu"}, "output": str(marker.parent / "md"),
             "stages": [{"ensemble": "nve", "time_ps": 0.001}]}
        ),
        lambda: fw.validate(
            {"potential": source, "structure": {"bulk": "Cu"}, "properties": {"equation_of_state": {}}}
        ),
    ]  # fmt: skip
    for run in runs:
        with pytest.raises(InputError, match="does not work|FORCEWRIGHT_ALLOW_COMMANDS=1|has no"):
            run()
    files = {marker, marker.with_name("marker.npy")}
    assert not any(file.exists() for file in files) and "a_stranger_s_module" not in sys.modules


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "numpy:array", "ase.units:GPa", "pathlib:Path"])
def test_consent_covers_calculators_and_no_other_functions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCEWRIGHT_ALLOW_COMMANDS", "1")
    with pytest.raises(InputError, match="does not work"):
        calculator_factory(name, field="reference.ase")
    made = calculator_factory("ase.calculators.lammpslib:LAMMPSlib", field="reference.ase")
    assert made.__name__ == "LAMMPSlib"


def test_another_program_than_cp2k_needs_consent(marker: Path) -> None:
    copper = marker.parent / "copper.xyz"
    write(Dataset.from_ase([bulk("Cu", cubic=True)]), copper)
    settings = {"structures": str(copper), "output": str(marker.parent / "l.extxyz")}
    for command in (["touch", str(marker)], [str(marker.parent / "cp2k.psmp")]):
        with pytest.raises(InputError, match=r"reference.cp2k.command.*FORCEWRIGHT_ALLOW_COMMANDS=1"):
            fw.label({**settings, "reference": {"cp2k": {"command": command}}})
    assert not marker.exists()


@pytest.mark.parametrize(
    "style",
    [
        "python 5.0", "hybrid python 5.0 lj/cut 4.0", "hybrid/overlay lj/cut 4.0 python 5.0", "python/kk 5.0",
        'hybrid "lj/cut 4.0 python 5.0"', "hybrid lj/cut 4.0 '\"python\"' 5.0", "kim EAM", "quip",
        "mliap model mliappy m.pkl descriptor sna d.txt", "mliap unified m.pkl 0", "mliap/kk unified m.pkl 0",
    ],
)  # fmt: skip
def test_pair_styles_that_run_code_are_refused(style: str, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"")
    with pytest.raises(InputError, match="runs code"):
        pair_style_potential(style, "* * Cu", tmp_path)
    with pytest.raises(InputError, match="runs code|may not stand in a word"):
        PairStylePotential(tuple(style.split()), (("*", "*", "Cu"),), (29,), 5.0, {})
    content = {"style": style.split(), "coefficients": [["*", "*", "Cu"]], "files": [], "types": ["Cu"], "cutoff": 5.0}
    with pytest.raises(InputError, match="runs code|may not stand in a word"):
        load(write_potential(tmp_path / "saved", "pair_style", content))


def test_a_stranger_s_study_runs_no_command(config: dict[str, Any], marker: Path, monkeypatch) -> None:
    """What a study of a harmless kind reads back of itself is of that kind, wherever it lies."""
    monkeypatch.setitem(FAMILIES, "toy", "toy_family:FAMILY")
    fixed = {
        **{key: value for key, value in config.items() if key != "search"},
        "model": {"kind": "toy", "cutoff": 4.0, "functions": 3},
    }
    folder = fw.fit(fixed).folder
    key = trial_files(type("Problem", (), {"scratch": folder}), {}).key
    for name in ("result.json", "report.html"):
        (folder / name).unlink()
    shutil.rmtree(folder / "potential")
    stranger(folder / "predictions" / key, marker)
    with pytest.raises(InputError, match="is of kind 'command', expected 'toy'"):
        fw.fit(fixed)
    shutil.rmtree(folder)
    fw.fit(fixed)
    stranger(folder / "potential", marker)
    assert fw.fit(fixed).potential.species == (29,)  # made anew
    for source in (folder, folder / "potential"):
        stranger(folder / "potential", marker)
        with pytest.raises(InputError, match="runs .*allow_commands=True"):
            fw.evaluate(source, fw.read(config["data"]["test"]))
    assert not marker.exists()


def test_names_reach_the_terminal_as_text(tmp_path: Path) -> None:
    attack = "\x1b]0;title\x07\x1b[31m[/q]:dog:\u202e\x9b"
    frames = [bulk("Cu", cubic=True) for _ in range(3)]
    for frame in frames:
        frame.info.update(config_type=attack, energy=-1.0)
    file = tmp_path / "a\x1b[2J[q].extxyz"
    write(Dataset.from_ase(frames), file)
    for words in (["check", file], ["statistics", file, "-o", tmp_path / "o[/q]"], ["predict", file, file]):
        done = run_here(*words, cwd=tmp_path)
        shown = done.stdout + done.stderr
        assert not any(c < " " and c not in "\n\t" or c in "\x9b\u202e" for c in shown), words
        assert "Traceback" not in shown and shown
    assert "o[/q]" in run_here("statistics", file, "-o", tmp_path / "o[/q]", cwd=tmp_path).stdout
    assert visible("µ å\n\t\u202f\udcff\r") == "µ å\n\t\u202f\\udcff\\r"


@pytest.mark.drawn
def test_pages_show_what_files_say(tmp_path: Path, config: dict[str, Any]) -> None:
    attack = '</svg><script>alert(1)</script>" onload="alert(1)'
    config["model"] = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
    folder = fw.fit(config).folder
    section = {
        "title": attack, "text": attack, "figures": [[f"<svg onload='alert(1)'>{attack}</svg>", 4.7]],
        "tables": [{"headings": [[attack, attack]], "rows": [[attack]], "style": attack, "marks": [attack]}],
        "paired": False,
    }  # fmt: skip
    write_json(folder / "physics.json", [section])
    result = json.loads((folder / "result.json").read_text())
    write_json(folder / "result.json", {**result, "warnings": [attack], "command": attack, "protocol": attack})
    page = rebuild_report(folder).read_text()
    assert "alert(1)" in page and "<script>alert" not in page and "onload='" not in page and '" onload="' not in page
    for damaged in ("[]", "3", '[{"figures": [[1]]}]', '[{"title": "x", "figures": [["<svg>", "wide"]]}]', "{"):
        (folder / "physics.json").write_text(damaged)
        if damaged != "[]":
            with pytest.raises(InputError, match="holds a damaged"):
                fw.report(folder)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "/x", ".x", "a\\b", "a\0b", "x" * 61, "", " x", "a\nb"])
def test_names_that_become_paths_stay_in_their_folder(name: str, copper: Path, tmp_path: Path) -> None:
    data = {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")}
    family = {"model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}}
    settings = {"data": data, "families": {name: family}, "output": "out/deep"}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    for run in (fw.compare, fw.learning_curve):
        with pytest.raises(InputError, match="families"):
            run(path)
    path.write_text(
        yaml.safe_dump({**settings, "data": {**data, "test": {name: data["test"]}}, "families": {"a": family}})
    )
    with pytest.raises(InputError, match="test"):
        fw.compare(path)
    assert list(tmp_path.iterdir()) == [path]
