"""Fits by programs of others: templates, what goes wrong in words, consent, and the same numbers as an adapter of ours."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.fitting.hyperparameters import fill_model, search_ranges
from forcewright.fitting.settings import FitSettings
from forcewright.models import load
from forcewright.models.command.potential import Predicting, runs_as_stated
from forcewright.models.command.template import fill, fill_within
from forcewright.recipes.tune import tune
from forcewright.structure import Dataset

# A program of its own: the mean energy per atom is all it learns; forces and stress come from a constant.
PROGRAM = """
import json, re, sys
task, settings, source, target = sys.argv[1:]
lines = open(source).read().splitlines()
frames = []
while lines:
    count = int(lines[0])
    frames.append((count, lines[1], lines[2 : 2 + count]))
    del lines[: 2 + count]
if task == "fit":
    print("reading", len(frames), "frames")
    energies = [float(re.search(r"my_energy=(\\S+)", comment)[1]) / count for count, comment, _ in frames]
    given = json.load(open(settings))
    if given["shift"] < 0:
        sys.exit("Error: shift must not be negative")
    json.dump({"mean": sum(energies) / len(energies) + given["shift"], "forces": "forces:R:3" in frames[0][1]},
              open(target, "w"))
else:
    mean = json.load(open(settings))["mean"]
    with open(target, "w") as out:
        for count, comment, rows in frames:
            lattice = re.search(r'Lattice="[^"]*"', comment)
            out.write(f'{count}\\n{lattice[0] if lattice else ""} Properties=species:S:1:pos:R:3:f:R:3 '
                      f'energy={mean * count!r} w="1 2 3 2 4 5 3 5 6"\\n')
            for row in rows:
                out.write(f"{row} 0.5 0.25 0.125\\n")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


@pytest.fixture
def config(program: Path) -> dict[str, Any]:
    python = [sys.executable, str(program)]
    return {
        "kind": "command", "parameters": {"shift": 0.5}, "integers": {"order": 3}, "cutoff": 4.0,
        "labels": {"energy": "my_energy"},
        "files": {"inputs/settings.json": '{"shift": ${shift}, "order": ${order}, "price": "$${shift} ${cutoff}"}'},
        "fit": [*python, "fit", "inputs/settings.json", "${train}", "model.json"],
        "outputs": ["model.json", "inputs/*.json"],
        "predict": {
            "command": [*python, "predict", "${potential}/model.json", "${structures}", "${predictions}"],
            "labels": {"forces": "f", "virial": "w"},
        },
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fits lose by more; waiting threads of OpenMP burn a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def train() -> Dataset:
    rng, frames = np.random.default_rng(0), []
    for _ in range(10):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    return Dataset.from_ase(frames)


def fitted(config: dict[str, Any], train: Dataset):
    return fill_model(config, {}).fit(train, rng=np.random.default_rng(0))


def test_a_program_fits_and_predicts(config, train) -> None:
    potential = fitted(config, train)
    assert json.loads(potential.files["inputs/settings.json"]) == {"shift": 0.5, "order": 3, "price": "${shift} 4.0"}
    assert json.loads(potential.files["model.json"])["forces"] is True
    assert "reading 10 frames" in potential.log
    mean = np.mean([f.labels.energy / len(f.structure) for f in train])
    first, cluster = potential.predict([train[0].structure, _cluster(train)])
    assert first.energy == pytest.approx(4 * (mean + 0.5), rel=1e-14)
    np.testing.assert_array_equal(first.forces, [[0.5, 0.25, 0.125]] * 4)
    np.testing.assert_allclose(
        first.stress, -np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]]) / train[0].structure.volume, rtol=1e-14
    )
    assert cluster.stress is None and cluster.forces.shape == (4, 3)
    bare = potential.predict([train[0].structure], forces=False, stress=False)[0]
    assert bare.forces is None and bare.stress is None and potential.predict([]) == []


def _cluster(train: Dataset):
    atoms = train[0].structure.to_ase()
    atoms.pbc, atoms.cell = False, None
    return type(train[0].structure).from_ase(atoms)


def test_parameters_are_searched(config) -> None:
    config["parameters"]["shift"] = {"low": 0.1, "high": 1.0}
    config["integers"]["order"] = {"low": 2, "high": 6}
    ranges = search_ranges(config)
    assert {name: type(r).__name__ for name, r in ranges.items()} == {
        "parameters.shift": "Real", "integers.order": "Integer",
    }  # fmt: skip
    model = fill_model(config, {"parameters.shift": 0.3, "integers.order": 4})
    assert model.parameters == {"shift": 0.3} and model.integers == {"order": 4}


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"fit": ["program", "${trian}"]}, r"did you mean \$\{train\}"),
        ({"files": {"a": "${potential}"}}, r"names \$\{potential\}, which has no value"),
        ({"parameters": {"train": 1.0, "shift": 0.0}}, "a name that is taken"),
        ({"parameters": {"shift": True}}, "expected a number or a text"),
        ({"parameters": {"shift": float("nan")}}, "finite"),
        ({"outputs": ["../model.json"]}, "not the name of a file inside"),
        ({"files": {"/etc/settings": ""}}, "not the name of a file inside"),
        ({"files": {"train.extxyz": ""}}, "a name that is taken"),
        ({"predict": {}}, "one of them only"),
        ({"predict": {"ase": "os.system('x'):y"}}, "predict.ase"),
        ({"fit": "program --train"}, "tuple"),
    ],
)
def test_mistakes_in_a_template_are_told(config, changes, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        fill_model({**config, **changes}, {})


def test_placeholders_name_values_and_nothing_else() -> None:
    values = {"a": 1e-7, "b": 3, "text": "${a} {b} $(rm) `x`"}
    assert fill("{a} $a ${a} $${a} ${b} ${text}", values) == "{a} $a 1e-07 ${a} 3 ${a} {b} $(rm) `x`"
    assert fill_within({"x": "${b}", "y": ["n${b}", 2.5, None]}, values, "f") == {"x": 3, "y": ["n3", 2.5, None]}
    for attack in ("${a.__class__}", "${a[0]}", "${a!r}", "${}"):
        with pytest.raises(InputError, match="has no value"):
            fill(attack, values)


def test_no_shell_reads_the_arguments(config, train, tmp_path: Path) -> None:
    config["fit"] = [*config["fit"][:-1], f"model.json; touch {tmp_path / 'touched'}"]
    with pytest.raises(InputError):
        fitted(config, train)
    assert not (tmp_path / "touched").exists()


def test_what_goes_wrong_is_one_sentence(config, train) -> None:
    def with_fit(*arguments: str) -> dict[str, Any]:
        return {**config, "fit": list(arguments)}

    cases = [
        ({**config, "parameters": {"shift": -1.0}}, "failed with exit status 1; it said: Error: shift must not be"),
        (with_fit("no-such-program"), "'no-such-program' cannot be started"),
        (with_fit(sys.executable, "-c", "print('all is well')"), "wrote no 'model.json'; it said: all is well"),
        (
            {**with_fit(sys.executable, "-c", "import time; time.sleep(60)"), "timeout_s": 0.3},
            "did not end within 0.3 s",
        ),
        (with_fit(sys.executable, "-c", "import os; os.abort()"), "was killed by signal 6"),
    ]
    for changed, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            fitted(changed, train)
    with pytest.raises(InputError, match="nothing to fit"):
        fitted(config, Dataset.from_ase([bulk("Cu")]))


@pytest.mark.parametrize(
    "written, sentence",
    [
        ("", "wrote 0 frames for 1 structures"),
        ("1\nProperties=species:S:1:pos:R:3:f:R:3 energy=1 w=1\nCu 0 0 0 0 0 0\n", "elements are not those"),
        ("4\nProperties=species:S:1:pos:R:3:f:R:3 energy=nan w=\"1 0 0 0 1 0 0 0 1\"\n" + "Cu 0 0 0 0 0 0\n" * 4, "finite"),
        ("4\nProperties=species:S:1:pos:R:3:f:R:3 w=\"1 0 0 0 1 0 0 0 1\"\n" + "Cu 0 0 0 0 0 0\n" * 4, "no 'energy'"),
        ("4\nProperties=species:S:1:pos:R:3 energy=1\n" + "Cu 0 0 0\n" * 4, "no 'f'"),
        ("4\nProperties=species:S:1:pos:R:3:f:R:3 energy=1 w=\"1 2\"\n" + "Cu 0 0 0 0 0 0\n" * 4, "6 or 9 numbers"),
    ],
)  # fmt: skip
def test_unusable_predictions_are_told(config, train, written: str, sentence: str) -> None:
    code = f"import sys; open(sys.argv[1], 'w').write({written!r})"
    config["predict"]["command"] = [sys.executable, "-c", code, "${predictions}"]
    with pytest.raises(InputError, match=sentence):
        fitted(config, train).predict([train[0].structure])


NOT_AS_STATED: tuple[dict[str, Any], ...] = (
    {"predict": {"command": ["other.py"]}}, {"parameters": {"shift": 0.75}}, {"integers": {"more": 3}}, {"cutoff": 4.5},
    {"parameters": {"shift": "text"}}, {"parameters": {"shift": {"choices": [0.75, 1.0]}}},
)  # fmt: skip


def test_all_that_decides_what_is_run_is_compared() -> None:
    predict = {"ase": "a:B", "kwargs": {"tool": "${tool}", "file": "${potential}/x.py", "n": [1, {"k": 2}]}}
    model = {
        "predict": predict, "parameters": {"tool": {"choices": ["cp", "mv"]}, "sigma": {"low": 1, "high": 2}},
        "files": {"x.py": "pass", "y": "${seed}"}, "cutoff": 4.0,
    }  # fmt: skip
    saved: dict[str, Any] = {
        "predict": Predicting.model_validate(predict).model_dump(mode="json"), "species": ["Cu", "Zr"],
        "values": {"tool": "mv", "sigma": 1.5, "cutoff": 4.0, "species": "Cu Zr"},
        "files": {"x.py": hashlib.sha256(b"pass").hexdigest(), "y": "any", "z": "any"},
    }  # fmt: skip
    assert runs_as_stated(model, saved)
    for part, key, value in (
        ("values", "tool", "sh"), ("values", "sigma", "rm"), ("values", "extra", 1), ("values", "species", "rm"),
        ("files", "x.py", hashlib.sha256(b"import os").hexdigest()), ("predict", "ase", "os:system"),
        ("predict", "kwargs", {**predict["kwargs"], "n": [1, {"k": 3}]}), ("predict", "timeout_s", 1.0),
        ("predict", "labels", {"energy": "e"}), ("predict", "more", 1),
    ):  # fmt: skip
        assert not runs_as_stated(model, {**saved, part: {**saved[part], key: value}}), (part, key)


def test_a_stranger_s_command_is_not_run_without_consent(config, train, tmp_path: Path, monkeypatch) -> None:
    potential = fitted(config, train)
    folder = potential.save(tmp_path / "saved")
    monkeypatch.delenv("FORCEWRIGHT_ALLOW_COMMANDS", raising=False)
    with pytest.raises(InputError, match="runs .*program.py.* allow_commands=True"):
        load(folder)
    loaded = load(folder, allow_commands=True)
    assert loaded.predict([train[0].structure])[0].energy == potential.predict([train[0].structure])[0].energy
    model = FitSettings(model=config).program  # consent to one program is none to another
    assert load(folder, allow_commands=model).files == potential.files
    for changes in NOT_AS_STATED:
        with pytest.raises(InputError, match="allow_commands=True"):
            load(folder, allow_commands={**config, **changes})
    with pytest.raises(InputError, match="is of kind 'command', expected 'gap'"):
        load(folder, allow_commands=True, kind="gap")
    monkeypatch.setenv("FORCEWRIGHT_ALLOW_COMMANDS", "1")
    assert load(folder).files == potential.files
    (folder / "model.json").write_text('{"mean": 0.0}')
    with pytest.raises(InputError, match="SHA-256"):
        load(folder)


def test_it_travels_to_other_processes(config, train) -> None:
    potential = fitted(config, train)
    first = potential.predict([train[0].structure])[0].energy
    assert pickle.loads(pickle.dumps(potential)).predict([train[0].structure])[0].energy == first


def test_a_calculator_that_fails_is_told(config, train) -> None:
    config["predict"] = {"ase": "ase.calculators.emt:EMT"}
    expected, found = train[0].labels, fitted(config, train).predict([train[0].structure])[0]
    assert found.energy == pytest.approx(expected.energy, rel=1e-13)
    np.testing.assert_allclose(found.stress, expected.stress, atol=1e-12)
    for ase, kwargs, sentence in [
        ("no_such_module:EMT", {}, "cannot be imported"), ("math:sqrt", {"x": 1}, "does not work"),
        ("ase.calculators.calculator:Calculator", {}, "fails for Cu4"),
    ]:  # fmt: skip
        config["predict"] = {"ase": ase, "kwargs": kwargs}
        with pytest.raises(InputError, match=sentence):
            fitted(config, train).predict([train[0].structure])


GAP = {
    "kind": "gap", "two_body": {"cutoff": 4.0, "n_sparse": 8},
    "soap": {"cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 20},
}  # fmt: skip
TEMPLATE = {
    "kind": "command", "integers": {"n_sparse": 20}, "parameters": {"sigma": 0.05}, "cutoff": 4.0,
    "labels": {"energy": "REF_energy", "forces": "REF_forces", "virial": "REF_virial"},
    "fit": [
        "gap_fit", "at_file=${train}",
        "gap={distance_2b cutoff=${cutoff} cutoff_transition_width=1.0 n_sparse=8 delta=1.0 theta_uniform=1.0 "
        "covariance_type=ard_se sparse_method=uniform : soap cutoff=${cutoff} cutoff_transition_width=1.0 n_max=4 "
        "l_max=3 atom_sigma=0.5 zeta=4.0 n_sparse=${n_sparse} delta=0.3 covariance_type=dot_product "
        "sparse_method=cur_points}",
        "e0={Cu:${e0_Cu}}", "default_sigma={0.001 ${sigma} 0.02 0.0}", "energy_parameter_name=REF_energy",
        "force_parameter_name=REF_forces", "virial_parameter_name=REF_virial", "sparse_jitter=1e-08",
        "do_copy_at_file=F", "gp_file=gp.xml", "rnd_seed=${seed}",
    ],
    "outputs": ["gp.xml", "gp.xml.sparseX*"],
    "predict": {"ase": "quippy.potential:Potential", "kwargs": {"param_filename": "${potential}/gp.xml"}},
}  # fmt: skip


def test_gap_fit_by_template_gives_the_numbers_of_the_adapter(train) -> None:
    pytest.importorskip("quippy", reason="the package quippy-ase is not installed")
    by_adapter, by_template = (
        fill_model(model, {}).fit(train, rng=np.random.default_rng(5)).predict(train.structures)
        for model in (GAP, TEMPLATE)
    )
    for ours, theirs in zip(by_adapter, by_template, strict=True):
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-8)
        np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-8)
        np.testing.assert_allclose(ours.stress, theirs.stress, atol=1e-8)


def test_a_study_by_template_gives_the_numbers_of_a_study_with_the_adapter(copper: Path, tmp_path: Path) -> None:
    pytest.importorskip("quippy", reason="the package quippy-ase is not installed")
    for name, count in (("train", 16), ("test", 8)):
        write(read(copper / f"{name}.extxyz")[:count], tmp_path / f"{name}.extxyz")
    results = [
        tune({
            "data": {"train": str(tmp_path / "train.extxyz")}, "model": model,
            "validation": {"external": str(tmp_path / "test.extxyz")}, "study": {"settings": 1, "initial": 1, "seed": 1}, "workers": 1,
            "output": str(tmp_path / str(model["kind"])),
        })
        for model in (GAP, TEMPLATE)
    ]  # fmt: skip
    ours, theirs = (result.validation.overall for result in results)
    assert ours.energy_rmse_meV_per_atom == pytest.approx(theirs.energy_rmse_meV_per_atom, rel=1e-8)
    assert ours.force_rmse_eV_per_A == pytest.approx(theirs.force_rmse_eV_per_A, rel=1e-8)
    assert ours.stress_rmse_GPa == pytest.approx(theirs.stress_rmse_GPa, rel=1e-8)
