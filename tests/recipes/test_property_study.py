"""A study of a property by its config: what it leaves, what it says, and that its model predicts."""

import csv
import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from typer.testing import CliRunner

import forcewright.data.property_reading as property_reading
import forcewright.recipes.reading as reading
from forcewright.cli import app
from forcewright.errors import InputError
from forcewright.properties import tensor_model
from forcewright.properties.tensor_model import TensorModel, judge_tensors
from forcewright.recipes import property_search
from forcewright.recipes.property_study import predict_property, tune_property

MODEL = {"cutoff": 4.0, "degrees": [3, 3], "nmax": 4, "lmax": 2, "alternatives": [{"cutoff": 1.1}]}


def _frames(count, seed, labeled=True):
    rng = np.random.default_rng(seed)
    water = np.array([[0.0, 0, 0], [0.8, 0.5, 0], [-0.8, 0.5, 0]])
    for _ in range(count):
        atoms = Atoms("OHH", water + rng.normal(scale=0.1, size=(3, 3)))
        atoms.rotate(rng.uniform(0, 180), rng.normal(size=3))
        if labeled:  # fixed charges
            atoms.info["mu"] = np.array([-0.8, 0.4, 0.4]) @ atoms.positions
        yield atoms


@pytest.fixture(name="config", scope="module")
def _config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write(folder / "train.extxyz", list(_frames(30, 1)))
    write(folder / "test.extxyz", list(_frames(5, 2)))
    content = {
        "target": {"name": "dipole", "key": "mu"}, "output": "run", "model": MODEL,
        "data": {"train": "train.extxyz", "test": "test.extxyz"},
    }  # fmt: skip
    (folder / "dipole.yaml").write_text(json.dumps(content))
    return folder / "dipole.yaml"


def test_a_study_from_the_command_line(config):
    done = CliRunner().invoke(app, ["tune", str(config)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "held back: all: MAE" in done.output
    run = config.parent / "run"
    result = json.loads((run / "result.json").read_text())
    assert result["errors"]["test"][0]["percent"] < 10
    assert result["settings"]["cutoff"] == 4.0
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 35
    wrong = [float(row["predicted_x"]) - float(row["label_x"]) for row in rows if row["set"] == "test"]
    assert np.max(np.abs(wrong)) < 0.1
    assert (run / "parity.png").stat().st_size > 1000
    assert "Held-back values" in (run / "report.html").read_text()

    modified = (run / "parity.png").stat().st_mtime_ns  # a study that has finished is read back
    again = tune_property(config)
    assert (run / "parity.png").stat().st_mtime_ns == modified
    assert again.to_rows()[0]["set"] == "held back"
    assert tune_property(config, fresh=True).summary["errors"] == result["errors"]

    printed = CliRunner().invoke(app, ["predict", str(run), str(config.parent / "test.extxyz"), "-o",
                                    str(config.parent / "predicted.csv")], catch_exceptions=False)  # fmt: skip
    assert "1o: MAE" in printed.output
    unlabeled = list(_frames(2, 3, labeled=False))
    predicted, errors = predict_property(run, unlabeled, config.parent / "unlabeled.csv")
    assert not errors
    unlabeled[0].calc = TensorModel.load(run / "model").calculator()
    np.testing.assert_allclose(unlabeled[0].get_dipole_moment(), predicted[0])
    assert len((config.parent / "unlabeled.csv").read_text().splitlines()) == 3


def test_files_are_read_once(config, monkeypatch):
    run = tune_property(config).folder
    unlabeled = config.parent / "unlabeled.extxyz"
    write(unlabeled, list(_frames(2, 3, labeled=False)))
    read = []
    taken = property_reading._take_file
    monkeypatch.setattr(
        property_reading, "_take_file", lambda path, *rest: (read.append(path.name), taken(path, *rest))
    )
    monkeypatch.setattr(reading, "read_structures", None)
    assert predict_property(run, config.parent / "test.extxyz")[1]
    predicted, errors = predict_property(run, unlabeled)
    assert len(predicted) == 2 and not errors
    assert read == ["test.extxyz", "unlabeled.extxyz"]
    cut_off = config.parent / "cut_off.extxyz"
    cut_off.write_text("".join(unlabeled.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"cut_off\.extxyz.*frame 1"):
        predict_property(run, cut_off)


def test_mistakes_are_told(config, tmp_path):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    for changes, problem in (
        ({"model": {"alternatives": [{"cutof": 3}]}}, "cutof"),
        ({"target": {"name": "dipole", "key": "nothing"}}, "nothing"),
        ({"folds": 1}, "folds"),
        ({"model": {"kind": "kernel", "zeta": 0}}, "zeta"),
        ({"model": {"kind": "kernel", "descriptor": "ace"}}, "no rotation changes"),
    ):
        with pytest.raises(InputError, match=problem):
            tune_property({**content, **changes}, output=tmp_path / "run")
    with pytest.raises(InputError, match="property model"):
        predict_property(tmp_path, [])


def test_ranges_are_searched_resumed_and_named_at_their_ends(config, tmp_path, monkeypatch):
    content = json.loads(config.read_text())
    content |= {
        "data": {"train": str(config.parent / "train.extxyz")}, "folds": 3, "study": {"trials": 5, "initial": 3},
        "model": {**MODEL, "cutoff": {"low": 1.0, "high": 1.3}, "degrees": [3, {"low": 1, "high": 3}]},
    }  # fmt: skip
    del content["model"]["alternatives"]
    done, heard = [], []

    def broken(*arguments, **how):
        raise InputError("has no solution")

    monkeypatch.setattr(property_search, "judge_tensors", broken)
    with pytest.raises(InputError, match="no trial could be fitted"):
        tune_property({**content, "frame_error": 1.0}, output=tmp_path / "run")  # and keeps no journal

    def interrupted(*arguments, **how):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments[1])
        return judge_tensors(*arguments, **how)

    monkeypatch.setattr(property_search, "judge_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune_property(content, output=tmp_path / "run")
    done.clear()
    resumed = tune_property(
        content, output=tmp_path / "run", on_trial=lambda record, wanted: heard.append(record.index)
    )
    assert len(done) == 2 and heard == [0, 1, 2, 3, 4]  # three were in the journal
    monkeypatch.setattr(property_search, "judge_tensors", judge_tensors)
    whole = tune_property(content, output=tmp_path / "whole")
    assert resumed.summary["errors"] == whole.summary["errors"]
    assert resumed.summary["settings"] == whole.summary["settings"]
    rows = list(csv.DictReader((tmp_path / "run" / "trials.csv").read_text().splitlines()))
    best = min(rows, key=lambda row: float(row["loss"]))
    assert resumed.summary["settings"]["cutoff"] == pytest.approx(float(best["cutoff"]))
    assert any("model.cutoff" in text and "upper end" in text for text in resumed.summary["warnings"])
    with pytest.raises(InputError, match="ranges and alternatives"):
        tune_property({**content, "model": {**content["model"], "alternatives": [{"nmax": 3}]}})
    with pytest.raises(InputError, match="nmax"):
        tune_property({**content, "model": {"nmax": {"low": 0, "high": 3}}})


def test_predictions_as_structures_keep_their_labels(config, tmp_path):
    run = CliRunner().invoke(app, ["tune", str(config), "-o", str(tmp_path / "run")], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    test, out = config.parent / "test.extxyz", tmp_path / "out.extxyz"
    told = CliRunner().invoke(
        app, ["predict", str(tmp_path / "run"), str(test), "-o", str(out)], catch_exceptions=False
    )
    assert "e*Å, " in told.output
    frames, original = read(out, ":"), read(test, ":")
    predicted, _ = predict_property(tmp_path / "run", [test])
    for atoms, before, values in zip(frames, original, predicted, strict=True):
        np.testing.assert_allclose(atoms.info["forcewright_dipole"], values, atol=1e-7)
        np.testing.assert_allclose(atoms.info["mu"], before.info["mu"], atol=1e-7)
    with pytest.raises(InputError, match=r"as \.csv or \.extxyz"):
        predict_property(tmp_path / "run", [test], tmp_path / "out.dat")


def test_options_of_potentials_are_refused_with_a_property(config):
    for options in (["--set", "study.trials=3"], ["--test", "test.extxyz"]):
        done = CliRunner().invoke(app, ["tune", str(config), *options])
        assert done.exit_code != 0
        assert "not for a property" in str(done.exception or done.output)


def test_usual_degrees_become_lower_where_they_need_too_much(config, tmp_path, monkeypatch):
    content = json.loads(config.read_text())
    content |= {"data": {"train": str(config.parent / "train.extxyz")}, "model": {"cutoff": 3.0}}
    monkeypatch.setattr(tensor_model, "_MOST_BYTES", 2e5)
    monkeypatch.setattr(tensor_model, "_LOWERED_BYTES", 2e5)
    result = tune_property(content, output=tmp_path / "run")
    assert max(result.model.settings.degrees) < 9
    assert "usual degrees [8.0, 9.0]" in result.summary["warnings"][0]
    with pytest.raises(InputError, match="would do"):
        tune_property({**content, "model": {"cutoff": 3.0, "degrees": [8, 9]}}, output=tmp_path / "asked")
