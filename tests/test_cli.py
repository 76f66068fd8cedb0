"""The command line as a user meets it: exit codes, sentences, no traceback."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command_line import run_here

BROKEN = Path(__file__).parent / "broken"
COMMANDS = ("tune", "fit", "predict", "check", "convert", "report")


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forcewright.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=cwd, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    text = done.stdout + done.stderr
    assert done.returncode != 0, text
    assert "Traceback" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, tmp_path: Path) -> None:
    done = run_here(command, "--help", cwd=tmp_path)
    assert done.returncode == 0 and "Example:" in done.stdout


def test_check_exits_by_what_it_finds(copper: Path) -> None:
    good = run("check", copper / "train.extxyz", "--test", copper / "test.extxyz")
    assert good.returncode == 0 and "no errors" in good.stdout
    refused(run("check", BROKEN / "nan_force.extxyz"), "nan_force.extxyz", "frame", "forces")


def test_convert_there_and_back(copper: Path, tmp_path: Path) -> None:
    from forcewright import read

    assert run_here("convert", copper / "train.extxyz", tmp_path / "a.db", cwd=tmp_path).returncode == 0
    assert run_here("convert", tmp_path / "a.db", tmp_path / "b.extxyz", cwd=tmp_path).returncode == 0
    first, second = read(copper / "train.extxyz"), read(tmp_path / "b.extxyz")
    assert first.content_hash == second.content_hash
    nowhere = run_here("convert", copper / "train.extxyz", tmp_path / "no" / "c.extxyz", cwd=tmp_path)
    refused(nowhere, "does not exist")
    broken = run_here("convert", BROKEN / "truncated.extxyz", tmp_path / "c.extxyz", cwd=tmp_path)
    refused(broken, "truncated.extxyz", "frame")
    assert not (tmp_path / "c.extxyz").exists()


@pytest.mark.parametrize(
    "name", ["nan_force.extxyz", "no_energy.extxyz", "zero_cell.extxyz", "truncated.extxyz", "empty.extxyz"]
)
def test_tune_refuses_broken_data_and_writes_nothing_of_it(config: dict, tmp_path: Path, name: str) -> None:
    config["data"]["train"] = str(BROKEN / name)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    refused(run_here("tune", tmp_path / "c.yaml", cwd=tmp_path), name)
    left = {path.name for path in Path(config["output"]).iterdir()} if Path(config["output"]).exists() else set()
    assert left <= {"forcewright.log"}


def test_tune_predict_report(config: dict, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    done = run("tune", tmp_path / "c.yaml")
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout and "report.html" in done.stdout
    assert "REF_energy (40)" in done.stderr and "least squares" in done.stderr
    folder = Path(config["output"])
    assert json.loads((folder / "result.json").read_text())["command"].startswith("forcewright tune")
    data, output = config["data"]["test"], tmp_path / "p.extxyz"
    predicted = run_here("predict", folder / "potential", data, "-o", output, cwd=tmp_path)
    assert predicted.returncode == 0 and (tmp_path / "p.extxyz").exists()
    assert run_here("report", folder, cwd=tmp_path).returncode == 0
    config["loss"] = {"alpha": 0.2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    refused(run_here("tune", tmp_path / "c.yaml", cwd=tmp_path), "--fresh")
    refused(run_here("fit", tmp_path / "c.yaml", cwd=tmp_path), "is a range")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    refused(run("tune", "none.yaml", cwd=tmp_path), "none.yaml", "does not exist")
    refused(run_here("report", tmp_path, cwd=tmp_path), "result.json")
    refused(run_here("predict", tmp_path / "none", tmp_path / "x.extxyz", cwd=tmp_path), "none")
    refused(run_here("check", "x.extxyz", "--label", "energy", cwd=tmp_path), "NAME=KEY")


@pytest.mark.slow
def test_a_study_killed_at_random_moments_has_the_trials_of_an_undisturbed_one(config: dict, tmp_path: Path) -> None:
    """SIGKILL 20 times while tuning in worker processes, resume each time."""
    import numpy as np

    from forcewright.optimize.journal import read_trials

    config["study"] = {"settings": 24, "initial": 8, "seed": 3, "acquisition": "gp_hedge"}
    config["workers"] = 2
    calm = {**config, "output": str(tmp_path / "calm")}
    for name, content in (("calm", calm), ("killed", config)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    start = time.perf_counter()
    assert run("tune", tmp_path / "calm.yaml").returncode == 0
    duration = time.perf_counter() - start
    rng = np.random.default_rng(0)
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-m", "forcewright.cli", "tune", str(tmp_path / "killed.yaml")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(float(rng.uniform(0.5, 0.35 * duration)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run("tune", tmp_path / "killed.yaml").returncode == 0
    expected = read_trials(tmp_path / "calm" / "journal.log")
    found = read_trials(Path(config["output"]) / "journal.log")
    assert [t.index for t in found] == list(range(24))
    assert [(t.params, t.loss) for t in found] == [(t.params, t.loss) for t in expected]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["simulate", "run.yaml"], "stopped; run it again to go on"), (["check", "x.extxyz"], "stopped"),
        (["tune", "--fresh", "t.yaml"], "stopped; run it again without --fresh to go on"),
        (["learn", "learn.yaml"], "stopped; run it again to go on"),
        (["compare-spaces", "a", "b"], "stopped; nothing is kept, and it begins anew when it is run again"),
    ],
)  # fmt: skip
def test_a_signal_ends_a_command_in_a_sentence(
    number: int, code: int, words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code that is interrupted raises what it likes; handlers are those of before again."""

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise SystemError("a compiled function returned a result with an exception set") from None

    if number == signal.SIGINT:  # a shell ignores it for what runs in the background
        signal.signal(number, signal.default_int_handler)
    monkeypatch.setattr("forcewright.cli.app", interrupted)
    before = signal.getsignal(number)
    done = run_here(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (code, sentence)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_import_ends_in_a_word(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n")
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.path.insert(0, {str(tmp_path)!r}); from forcewright.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, "check", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (code, "stopped\n", "")


def test_a_system_that_refuses_to_write_is_a_sentence(
    copper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for output in ("/dev/full", tmp_path / "file" / "x"):
        done = run_here("statistics", copper / "test.extxyz", "-o", output, cwd=tmp_path)
        assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
    for error, words in ((OSError(errno.ENOSPC, "No space left"), "No space left"), (MemoryError(), "enough memory")):
        monkeypatch.setattr("forcewright.cli.app", lambda error=error: (_ for _ in ()).throw(error))
        done = run_here("check", "x", cwd=tmp_path)
        assert done.returncode == 1 and words in done.stderr
