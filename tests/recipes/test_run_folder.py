"""What every command does around its work: configs, paths, locks and files."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

import forcewright as fw
from forcewright.errors import InputError
from forcewright.files import write_table
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: Annotated[int, Field(gt=0)] | dict[str, float] = 1
    file: Path | None = None


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    output: Path
    data: list[Path]
    inner: Inner = Inner()
    named: dict[str, tuple[Inner, ...]] = {}
    free: dict[str, Any] = {}


GOOD = {"output": "out", "data": ["a"]}


def refusal(content: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_config(Outer, content)
    assert len(str(caught.value)) < 700
    return str(caught.value)


def test_all_missing_keys_are_named_at_once() -> None:
    assert refusal({}) == "output and data are missing; add them"
    assert refusal({"data": []}) == "field 'output': is missing; add it"
    assert refusal({"ouput": "x"}) == "field 'ouput': is not known; did you mean 'output'?; besides, data is missing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 3}, "did you mean inner.count?"),
        ({"inner": {"output": "x"}}, "did you mean output?"),
        ({"inner": {"cuont": 1}}, "did you mean 'count'?"),
        ({"named": {"x": [{"fil": "x"}]}}, "field 'named.x.0.fil': is not known; did you mean 'file'?"),
        ({"nothing_like_it": 1}, "allowed are data, free, inner, named, output"),
        ({"inner": {"count": 0}}, "field 'inner.count': is 0: Input should be greater than 0"),
        ({"inner": {"count": {"a": "b"}}}, "field 'inner.count.a': is 'b'"),
        ({"inner": 10**4000}, "field 'inner': is 1000"),
        ({"data": {"x" * 9999: "x" * 9999}}, "field 'data': Input should be a valid list"),
        ({"x" * 9999: 1}, "xxx…': is not known"),
        ({1: 1}, "field '1': is not known"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told_where_it_belongs(change: dict[Any, Any], words: str) -> None:
    assert words in refusal({**GOOD, **change})


BOMB = "a0: &a0 [x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output: a\ndata: [b]\noutput: c\n", "field 'output': stands twice (line 3)"),
        ("output: a\ndata: [b]\ninner: {count: 1, count: 2}\n", "field 'count': stands twice"),
        (BOMB, "holds more than 100000 values"),
        ("a: &a [*a]\n", "holds itself"),
        ("a: " + "[" * 5000, "not readable YAML"),
        ("a: " + "[" * 200 + "]" * 200, "nested deeper than"),
        ("a: !!python/object/apply:os.system [ls]\n", "not readable YAML"),
        ("a: " + "1" * 6000 + "\n", "whole number of 6000 digits"),
        ("- 1\n", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: 1\n---\nb: 1\n", "not readable YAML"),
    ],
)
def test_yaml_is_read_strictly(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    said = refusal(tmp_path / "c.yaml")
    assert words in said and "c.yaml" in said


def test_merged_keys_are_no_duplicates(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("free: {base: &base {a: 1}, more: {<<: *base, b: 2}}\noutput: x\ndata: [y]\n")
    assert read_config(Outer, tmp_path / "c.yaml").settings.free["more"] == {"a": 1, "b": 2}


def test_a_config_comes_from_a_file_its_content_or_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(GOOD))
    monkeypatch.chdir(tmp_path.parent)
    read = read_config(Outer, Path(tmp_path.name) / "c.yaml")
    assert read == (Outer.model_validate(GOOD), tmp_path, Path(tmp_path.name) / "c.yaml")
    assert read_config(Outer, GOOD) == (read.settings, tmp_path.parent, None)
    assert read_config(Outer, read.settings, base=tmp_path) == (read.settings, tmp_path, None)
    assert "is a int" in refusal(3) and "does not exist" in refusal("none.yaml")


def test_every_path_is_taken_from_the_folder(tmp_path: Path) -> None:
    inner = {"file": "f"}
    settings = Outer.model_validate({**GOOD, "inner": inner, "named": {"n": [inner, {}]}, "free": {"file": "f"}})
    absolute = with_absolute_paths(settings, tmp_path)
    assert (absolute.output, absolute.data, absolute.inner.file) == (tmp_path / "out", [tmp_path / "a"], tmp_path / "f")
    assert absolute.named["n"] == (Inner(file=tmp_path / "f"), Inner()) and absolute.free == {"file": "f"}
    assert with_absolute_paths(absolute, Path("/elsewhere")) == absolute and settings.output == Path("out")


SECOND = """
import sys
from forcewright.errors import InputError
from forcewright.recipes.run_folder import RunFolder
try:
    with RunFolder(sys.argv[1], "tune") as folder:
        folder.discard(["kept"])
except InputError as error:
    print(error)
"""


def test_a_second_process_is_refused_and_the_first_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/forcewright", "tune", "mo.yaml"])

    def second() -> str:
        command = [sys.executable, "-c", SECOND, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    (tmp_path / "kept").write_text("x")
    with RunFolder(tmp_path, "tune"):
        said = second()
        assert (
            f"process {os.getpid()} on {os.uname().nodename}, since 20" in said and "`forcewright tune mo.yaml`" in said
        )
        assert (tmp_path / "kept").exists()  # nothing is discarded before the lock is held
    assert second() == "" and not (tmp_path / "kept").exists()
    assert not list(tmp_path.iterdir())


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import os, sys; from forcewright.recipes.run_folder import RunFolder; "
    code += "folder = RunFolder(sys.argv[1], 'tune').__enter__(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == [".forcewright.lock"]
    with RunFolder(tmp_path, "tune"):
        pass


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    ready, go = os.pipe(), os.pipe()
    with RunFolder(tmp_path, "tune"):
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    try:
        with RunFolder(tmp_path, "tune"):
            pass
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("result", "by"),
    [
        ({"written_by": "tune"}, "tune"),
        ({"command": "forcewright compare families.yaml"}, "compare"),  # as earlier versions wrote it
        ({"identity": {}}, "simulate"),
    ],
)
def test_no_command_overwrites_the_results_of_another(tmp_path: Path, result: dict[str, Any], by: str) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=f"holds the results of `forcewright {by}`"), RunFolder(tmp_path, "analyze"):
        pass
    with RunFolder(tmp_path, "fit" if by == "tune" else by) as folder:
        assert folder.write_result({})["written_by"] == folder.command


def test_results_of_unknown_origin_are_overwritten(tmp_path: Path) -> None:
    for text in ("[1]", "{", json.dumps({"command": "forcewright -m pytest"})):
        (tmp_path / "result.json").write_text(text)
        with RunFolder(tmp_path, "analyze"):
            pass


def test_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with RunFolder(tmp_path / "a/b", "analyze") as folder, folder.logging():
        logging.getLogger("forcewright.test").info("said")
        content = folder.write_result({"x": float("nan"), "y": [float("inf"), 1]}, [tmp_path / "data"])
        write_table(folder / "t.csv", [{"a": 1, "b": None}, {"a": "x,y", "b": 2.5}])
        text = folder.write_config(Outer.model_validate(GOOD), exclude={"free"})
    assert {"versions", "machine", "command", "data_hashes"} < set(content)
    assert json.loads((folder / "result.json").read_text()) == {**content, "x": None, "y": [None, 1]}
    assert (folder / "t.csv").read_text() == 'a,b\n1,\n"x,y",2.5\n'
    assert (folder / "config.resolved.yaml").read_text() == text and "free" not in text
    assert "said" in (folder / "forcewright.log").read_text()


def no_space(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in place of a folder")
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InputError, match="cannot be written"), RunFolder(path, "tune"):
            pass
    with RunFolder(tmp_path / "run", "tune") as folder:
        for name in ("fsync", "replace"):
            with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left on device; make room"):
                patch.setattr(os, name, no_space)
                folder.write_result({})
        (folder / "forcewright.log").mkdir()
        with pytest.raises(InputError, match="Is a directory"), folder.logging():
            pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["forcewright.log"]


def test_a_report_of_what_is_no_study_is_the_page_that_is_there(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "md", "simulate") as folder:
        folder.write_result({"completed": True})
    with pytest.raises(InputError, match=r"results of `forcewright simulate` without a page; run that command again"):
        fw.report(tmp_path / "md")
    (tmp_path / "md" / "report.html").write_text("as it is")
    assert fw.report(tmp_path / "md").read_text() == "as it is"
