"""A study of densities of states by its config: what it leaves, goes on with, and refuses."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from aluminum_densities import GRID, SMALL, distorted, true_density
from ase.io import write
from typer.testing import CliRunner

import forcewright as fw
from forcewright.cli import app
from forcewright.errors import InputError
from forcewright.properties.dos_model import DosModel
from forcewright.recipes import dos_study
from forcewright.recipes.config import read_config as read_tune_config
from forcewright.recipes.dos_study import DosConfig, choose, tune_dos
from forcewright.recipes.run_folder import read_config
from forcewright.recipes.simulate import SimulateConfig

KEYS = {"low": GRID.low, "high": GRID.high, "step": GRID.step, "zero": "fermi"}


def _write(path, count, seed):
    rng = np.random.default_rng(seed)
    frames, densities = [], []
    for number in range(count):
        structure = distorted(rng)
        atoms = structure.to_ase()
        atoms.info["config_type"] = "cold" if number % 3 else "hot"
        frames.append(atoms)
        densities.append(true_density(structure))
    write(path, frames)
    np.savez(path.with_suffix(".npz"), dos=np.array(densities))


@pytest.fixture(name="config", scope="module")
def _config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("densities")
    _write(folder / "train.extxyz", 30, 1)
    _write(folder / "test.extxyz", 6, 2)
    content = {
        "target": {"name": "dos", "grid": KEYS, "reduce": "mean", "file": "{stem}.npz"}, "output": "run",
        "data": {"train": "train.extxyz", "test": "test.extxyz"},
        "model": {"electrons": {"Al": 3.0}, "environment": {**SMALL, "length": {"low": 0.5, "high": 2.0}}},
        "study": {"trials": 3},
    }  # fmt: skip
    (folder / "dos.yaml").write_text(json.dumps(content))
    return folder / "dos.yaml"


@pytest.fixture(name="run", scope="module")
def _run(config):
    done = CliRunner().invoke(app, ["tune", str(config)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "held back: 30 structures, %RMSE" in done.output
    return config.parent / "run"


def test_a_study_leaves_model_tables_figures_and_page(run):
    result = json.loads((run / "result.json").read_text())
    assert result["errors"]["held back"]["percent"] < 30
    assert result["errors"]["test"]["percent"] < 30
    assert {"held back, hot", "held back, cold"} < set(result["errors"])
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert [row["set"] for row in rows].count("test") == 6
    # the error of the whole is the root of the mean square over structures
    percent = [float(row["percent"]) for row in rows if row["set"] == "held back"]
    assert np.sqrt(np.mean(np.square(percent))) == pytest.approx(result["errors"]["held back"]["percent"], rel=0.05)
    held = np.load(run / "held_back.npz")
    assert held["predicted"].shape == (30, GRID.count)
    np.testing.assert_allclose(held["labels"], np.load(run.parent / "train.npz")["dos"])
    for name in ("parity-held-back.png", "curves-test.png"):
        assert (run / name).stat().st_size > 1000
    assert "Ben Mahmoud" in fw.cite(run)
    page = (run / "report.html").read_text()
    for words in ("What was chosen", "Charges by atom", "median of 30", "Held-back structures"):
        assert words in page


def test_held_back_choices_have_not_seen_their_fold(run, config):
    """Labels of one fold in disarray change what other fits choose, but not what that fold's own fit predicts."""
    held = np.load(run / "held_back.npz")
    fold = held["fold"] == 0
    folder = config.parent / "disarray"
    folder.mkdir()
    densities = np.load(config.parent / "train.npz")["dos"]
    densities[fold] = densities[fold][:, ::-1]
    (folder / "train.extxyz").write_bytes((config.parent / "train.extxyz").read_bytes())
    np.savez(folder / "train.npz", dos=densities)
    content = json.loads(config.read_text())
    content["data"] = {"train": str(folder / "train.extxyz")}
    tune_dos(content, output=folder / "run")
    again = np.load(folder / "run" / "held_back.npz")
    np.testing.assert_allclose(again["predicted"][fold], held["predicted"][fold], atol=1e-12)
    assert np.abs(again["predicted"][~fold] - held["predicted"][~fold]).max() > 1e-3


def test_a_finished_study_is_read_back_and_fw_tune_dispatches(run, config):
    modified = (run / "report.html").stat().st_mtime_ns
    again = fw.tune(config)
    assert (run / "report.html").stat().st_mtime_ns == modified
    assert again.to_rows()[0]["set"] == "held back"
    assert "%RMSE" in again.text()
    with pytest.raises(InputError, match="forcewright tune fits it"):
        fw.fit(config)
    with pytest.raises(InputError, match="in the config of a property"):
        fw.tune(config, test="test.extxyz")


def test_a_stopped_study_goes_on_as_if_it_had_not_been(run, config, tmp_path, monkeypatch):
    content = json.loads(config.read_text())
    content["data"] = {name: str(config.parent / file) for name, file in content["data"].items()}
    seen = []

    def stop(record, wanted):
        seen.append(record.index)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_dos(content, output=tmp_path / "run", on_trial=stop)
    fitted = []
    judge = dos_study.DosValidation.judge
    monkeypatch.setattr(dos_study.DosValidation, "judge", lambda *args: fitted.append(1) or judge(*args))
    result = tune_dos(content, output=tmp_path / "run")
    assert len(fitted) == 1  # two had finished
    assert result.summary["errors"] == json.loads((run / "result.json").read_text())["errors"]
    with pytest.raises(InputError, match="fresh"):
        tune_dos({**content, "seed": 5}, output=tmp_path / "run")


def test_predictions_are_grids_with_what_follows(run, config, tmp_path):
    frames = config.parent / "test.extxyz"
    densities, errors = fw.predict_property(run, frames, tmp_path / "p.npz")
    assert errors[0]["percent"] == json.loads((run / "result.json").read_text())["errors"]["test"]["percent"]
    held = np.load(tmp_path / "p.npz")
    np.testing.assert_array_equal(held["dos"], densities)
    assert held["charges"].shape == (24,)
    assert np.abs(held["charges"].reshape(6, 4).sum(axis=1)).max() < 1e-9
    model = DosModel.load(run / "model")
    structure = distorted(np.random.default_rng(7))
    atoms = structure.to_ase()
    (density,), errors = fw.predict_property(run, [atoms], tmp_path / "p.csv")
    assert errors == []
    np.testing.assert_allclose(density, model.density(structure))
    (row,) = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    assert float(row["dos_at_-8_eV"]) == pytest.approx(density[0])
    state = model.electronic_state(structure, 0.0)
    assert float(row["fermi_level_eV"]) == pytest.approx(state.fermi)
    there = np.eye(GRID.count)[30]
    single = 4 * model.standard_error(structure, there)
    fw.predict_property(model, [atoms], tmp_path / "q.npz")
    # the integral weights of one grid point are those of its value: both are the same standard error
    assert np.load(tmp_path / "q.npz")["dos_standard_error"][0, 30] == pytest.approx(single)


def test_other_elements_and_endings_are_refused(run, tmp_path):
    atoms = distorted(np.random.default_rng(7)).to_ase()
    atoms.symbols[1] = "Cu"
    with pytest.raises(InputError, match="holds Cu, and the model knows Al"):
        fw.predict_property(run, [atoms])
    with pytest.raises(InputError, match="npz or .csv"):
        fw.predict_property(run, [atoms], tmp_path / "p.extxyz")


def test_groups_are_left_out_and_weighted(config, tmp_path):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    content["model"]["environment"] = SMALL | {"kernel": "linear", "scaling": 0.5}
    plain = tune_dos({**content, "leave_out": "groups"}, output=tmp_path / "plain")
    assert sorted(set(np.load(tmp_path / "plain" / "held_back.npz")["fold"])) == [0, 1]
    assert plain.summary["trials"] == 1  # nothing to search
    with pytest.raises(InputError, match="names warm; the groups are"):
        tune_dos({**content, "weights": {"warm": 2}}, output=tmp_path / "wrong")
    heavy = tune_dos({**content, "weights": {"hot": 1e6}}, output=tmp_path / "heavy")
    same = tune_dos(content, output=tmp_path / "same")
    _, errors = zip(*(fw.predict_property(r.model, config.parent / "train.extxyz") for r in (heavy, same)), strict=True)
    assert errors[0][0]["percent"] > errors[1][0]["percent"]  # of all, as others hardly count


def test_components_tell_what_they_cut_off(config, tmp_path):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    content["model"] |= {"target": "components", "components": 2, "environment": SMALL | {"length": 1, "scaling": 1}}
    result = tune_dos(content, output=tmp_path / "run")
    assert 0 < result.summary["truncation_percent"] < result.summary["errors"]["held back"]["percent"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": {"reference": {"choices": ["labels", "filling"]}}}, "decided, not searched"),
        ({"model": {"environment": {"cutof": 3}}}, "cutof"),
        ({"model": {"environment": {"cutoff": {"low": 6, "high": 3}}}}, "below high"),
        ({"target": {"name": "dos", "grid": KEYS, "per": "atom"}}, "needs a grid"),
        ({"folds": 1}, "folds"),
        ({"leave_out": {"x": ["nothing"]}}, "nothing"),
    ],
)
def test_mistakes_are_told(config, tmp_path, changes, problem):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    with pytest.raises(InputError, match=problem):
        tune_dos({**content, **changes}, output=tmp_path / "run")


def test_unknown_fermi_levels_ask_for_electrons(config, tmp_path):
    content = json.loads(config.read_text())
    content["data"] = {"train": str(config.parent / "train.extxyz")}
    content["target"]["grid"] = {**KEYS, "zero": "absolute"}
    content["model"]["environment"] = SMALL | {"length": 1, "scaling": 1}
    known = tune_dos(content, output=tmp_path / "known")
    assert known.summary["errors"]["held back"]["fermi_eV"] < 0.2
    del content["model"]["electrons"]
    with pytest.raises(InputError, match="electrons: "):  # before any trial
        tune_dos(content, output=tmp_path / "open")
    content["model"]["electrons"] = {"Al": 3.0}
    assert tune_dos(content, output=tmp_path / "open").summary["errors"] == known.summary["errors"]


def test_empty_labels_are_named_or_left_out(config, tmp_path):
    for name in ("train.extxyz", "train.npz"):
        (tmp_path / name).write_bytes((config.parent / name).read_bytes())
    densities = np.load(tmp_path / "train.npz")["dos"]
    densities[7] = 0
    np.savez(tmp_path / "train.npz", dos=densities)
    content = json.loads(config.read_text())
    content["model"]["environment"] = SMALL | {"length": 1, "scaling": 1}
    content["data"] = {"train": str(tmp_path / "train.extxyz")}
    with pytest.raises(InputError, match="frame 7"):
        tune_dos(content, output=tmp_path / "run")
    content["data"]["skip_broken"] = True
    result = tune_dos(content, output=tmp_path / "run")
    assert result.summary["frames"] == 29
    assert any("frame 7" in words for words in result.summary["warnings"])


def test_earlier_models_are_read(run):
    folder = Path(run) / "model"
    model = DosModel.load(folder)
    content = json.loads((folder / "dos.json").read_text())
    for key in ("center", "target"):
        content.pop(key, None)
    (folder / "dos.json").write_text(json.dumps(content))
    assert DosModel.load(folder).density(distorted(np.random.default_rng(3))).sum() > 0
    model.save(folder)


def test_settings_say_what_they_are():
    assert DosConfig.model_fields["study"].default.trials == 16


def test_a_pipeline_knows_what_a_study_writes(run, config):
    stages = {"fit": {"tune": "dos.yaml"}, "seen": {"predict": "test.extxyz", "potential": "run", "output": "seen.npz"}}
    (config.parent / "pipeline.yaml").write_text(json.dumps({"stages": stages}))
    assert list(fw.pipeline(config.parent / "pipeline.yaml", dvc=True).states) == ["fit", "seen"]
    assert "run/model" in (config.parent / "dvc.yaml").read_text()


def test_configs_of_the_example_can_be_read():
    example = Path(__file__).parents[2] / "examples" / "silicon-dos"
    _, ranges = read_config(DosConfig, example / "dos.yaml").settings.searched()
    assert set(ranges) == {"filling", "environment.cutoff", "environment.length", "environment.scaling"}
    assert read_config(SimulateConfig, example / "compress.yaml").settings.stages[-1].pressure_GPa == (0.0, 20.0)
    assert read_tune_config(example / "ace.yaml").model["functions"] == 300


def test_an_environment_that_is_no_mapping_is_refused(config):
    content = json.loads(config.read_text())
    with pytest.raises(InputError, match=r"environment is no mapping"):
        tune_dos({**content, "model": {"environment": 7}})


def test_a_fold_whose_inner_errors_are_unknown_takes_a_trial_that_has_some() -> None:
    def record(index: int, inner: float | None) -> SimpleNamespace:
        return SimpleNamespace(index=index, loss=1.0, metrics={"inner": [inner, None]})

    chosen = choose([record(0, None), record(1, 2.0), record(2, 3.0)], SimpleNamespace(folds=[0, 1]))  # type: ignore[arg-type,list-item]
    assert [trial.index for trial in chosen] == [1, 0]
