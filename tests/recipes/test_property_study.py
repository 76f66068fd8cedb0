"""A study of a property by its config: what it leaves, what it says, and that its model predicts."""

import csv
import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

from forcewright.cli import app
from forcewright.errors import InputError
from forcewright.properties.tensor_model import TensorModel
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


def test_mistakes_are_told(config, tmp_path):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    for changes, problem in (
        ({"model": {"alternatives": [{"cutof": 3}]}}, "cutof"),
        ({"target": {"name": "dipole", "key": "nothing"}}, "nothing"),
        ({"folds": 1}, "folds"),
    ):
        with pytest.raises(InputError, match=problem):
            tune_property({**content, **changes}, output=tmp_path / "run")
    with pytest.raises(InputError, match="property model"):
        predict_property(tmp_path, [])
