"""Studies of ACE from start to end, on a few frames of hydrogen in diamond."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import forcewright as fw
from forcewright.cli import main
from forcewright.data import read, write
from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting import linear_trial, refinement
from forcewright.fitting.hyperparameters import fill_model, search_ranges
from forcewright.fitting.linear_trial import LinearTrial, fit_linear
from forcewright.fitting.loss import Loss
from forcewright.fitting.problem import Problem, make_problem
from forcewright.models.ace import AceModel
from forcewright.models.ace.densities import NonlinearFit
from forcewright.optimize.space import Categorical, Integer, Real
from forcewright.recipes.config import parse_config
from forcewright.recipes.inputs import read_inputs
from forcewright.structure import Dataset, Frame, Labels, Structure

EXAMPLE = Path(__file__).parents[2] / "examples" / "hv-diamond"
GROUPS = ("hv_500K", "h2i_800K")
SNAP_KEYS = (
    "settings", "validation", "test", "trials", "failed_trials", "evaluations", "wall_s", "cpu_s", "peak_memory_bytes",
    "cost_us_per_atom", "warnings", "protocol", "best_trial", "solver", "gram_mismatch", "reference_energies", "versions",
    "data_hashes",
)  # fmt: skip


@pytest.fixture(scope="module")
def diamond(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.extxyz (16 frames of two groups) and test.extxyz (4)."""
    folder = tmp_path_factory.mktemp("diamond")
    for name, count in (("train", 8), ("test", 2)):
        frames = read([EXAMPLE / f"{name}.extxyz"])
        kept = [frame for group in GROUPS for frame in [f for f in frames if f.labels.group == group][:count]]
        write(Dataset(tuple(kept), name), folder / f"{name}.extxyz")
    return folder


@pytest.fixture
def ace(diamond: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {"train": str(diamond / "train.extxyz"), "test": str(diamond / "test.extxyz")},
        "validation": {"kfold": 3},
        "model": {"kind": "ace", "functions": 12, "rcut": 3.0, "nradmax": [4, 2, 1], "lmax": [0, 2, 1]},
        "study": {"settings": 1, "initial": 1, "seed": 1},
        "search": {"starts": 1, "evaluations": 8},
        "workers": 1,
        "output": str(tmp_path / "run"),
    }


def with_model(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**config, "model": {**config["model"], **changes}}


def problem_of(config: dict[str, Any]) -> Problem:
    settings = parse_config(config, folder=Path())
    inputs = read_inputs(settings)
    return make_problem(
        settings, inputs.train, test=inputs.test, external=inputs.external, rows=RowMemory(10**8), scratch=Path()
    )


def same(first: fw.Potential, second: fw.Potential, structure: Structure) -> None:
    one, other = (potential.predict([structure])[0] for potential in (first, second))
    assert one.energy == other.energy
    np.testing.assert_array_equal(one.forces, other.forces)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_study_over_cutoff_and_family_of_radial_functions(
    ace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = {"rcut": {"low": 2.4, "high": 3.6}, "radial": {"choices": ["SBessel", "ChebExpCos"]}}
    config = {**with_model(ace, **ranges), "study": {"settings": 2, "initial": 2, "seed": 1}}
    first = fw.tune(config)
    folder = first.folder
    summary = json.loads((folder / "result.json").read_text())
    assert summary == first.summary and set(SNAP_KEYS) <= set(summary)
    assert summary["failed_trials"] == 0 and summary["test"]["force_rmse_eV_per_A"] > 0
    for name in ("model.yace", "in.lammps", "structure.data", "potential.json", "fit.npz"):
        assert (folder / "potential" / name).is_file()
    for name in ("report.html", "trials.csv", "errors_test.csv", "config.resolved.yaml"):
        assert (folder / name).is_file()

    # the potential of the folder, and its .yace file alone, are the one that was judged
    potential, bare = fw.load(folder / "potential"), fw.load(folder / "potential" / "model.yace")
    test = fw.read(config["data"]["test"])
    errors = fw.evaluate(potential, test).overall
    assert errors.force_rmse_eV_per_A == pytest.approx(summary["test"]["force_rmse_eV_per_A"], rel=1e-9)
    for structure in test.structures:
        same(potential, first.potential, structure)
        same(potential, bare, structure)
    train = fw.read(config["data"]["train"])
    grades = np.concatenate([potential.extrapolation_grades(structure) for structure in train.structures])
    assert grades.max() <= 1.1 + 1e-6
    assert (potential.energy_standard_error(test.structures) > 0).all()

    # the core begins below the shortest distances, and whatever comes closer is driven apart
    inner = shortest_distances(train)
    species = {6: "C", 1: "H"}
    for i, a in enumerate(potential.fitted.basis.species):
        for j, b in enumerate(potential.fitted.basis.species):
            pair = f"{species[a]}-{species[b]}"
            shortest = inner.get(pair, inner.get(pair[::-1]))
            assert potential.fitted.basis.core.inner[i][j] == pytest.approx(0.9 * shortest)
    close = [potential.predict([Structure([6, 6], [[0, 0, 0], [0, 0, d]])])[0].energy for d in (0.3, 0.6)]
    assert close[0] > close[1] + 50

    # the winner refitted is the same potential: on rows from one thread in workers, or on rows from several here
    saved = files_in(folder / "potential")
    shutil.rmtree(folder / "potential")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    again = fw.tune(config)
    assert [(t.params, t.loss) for t in again.trials] == [(t.params, t.loss) for t in first.trials]
    assert files_in(folder / "potential") == saved
    assert again.validation.to_dict() == first.validation.to_dict() and again.test.to_dict() == first.test.to_dict()

    once_more = fw.tune(config)  # nothing left to do
    assert once_more.summary == again.summary == json.loads((folder / "result.json").read_text())
    assert files_in(folder / "potential") == saved


def test_a_pool_is_pruned_to_its_target(ace: dict[str, Any]) -> None:
    config = with_model(ace, functions=30, prune={"products": 60})
    result = fw.tune(config)
    basis = result.potential.fitted.basis
    assert basis.size < 60 and basis.pruning_groups()[1].sum() <= 60
    pool = AceModel(**config["model"]).basis((1, 6))
    assert sum(f.rank == 1 for f in basis.columns) == sum(f.rank == 1 for f in pool.columns)
    assert result.summary["validation"]["force_rmse_eV_per_A"] < 1

    # each fold was predicted with functions that were chosen without it
    problem = problem_of(config)
    fitted = fit_linear(problem, {}, 0)
    basis, without = linear_trial.prune(problem, pool_of(problem), prune_of(problem))
    inner, held = problem.without_fold(1)
    alone = inner.validated_on(problem.train[held])
    expected = linear_trial._fit(alone, model_of(problem), without[1], 0, fitted.search.theta).predictions
    for index, prediction in zip(held, expected, strict=True):
        np.testing.assert_allclose(fitted.predictions[index].forces, prediction.forces, atol=1e-9)


def model_of(problem: Any) -> Any:
    return fill_model(problem.model, {})


def pool_of(problem: Any) -> Any:
    return model_of(problem).basis(problem.train.species)


def prune_of(problem: Any) -> Any:
    return model_of(problem).pruning()


def test_everything_is_pruned_but_rank_one(ace: dict[str, Any]) -> None:
    fitted = fit_linear(problem_of(with_model(ace, prune={"products": 1})), {}, 0)
    assert {f.rank for f in fitted.basis.columns} == {1}


TWO = {"functions": 6, "densities": 2, "nonlinear": {"iterations": 8, "patience": 3}}


@pytest.fixture(scope="module")
def curved(diamond: Path) -> Path:
    """The frames labelled by a potential of two densities, the second about 1 at every atom."""
    model = AceModel(functions=6, rcut=3.0, nradmax=(4, 2, 1), lmax=(0, 2, 1), densities=2)
    basis, rng = model.basis((1, 6)), np.random.default_rng(1)
    sets = {name: read([diamond / f"{name}.extxyz"]) for name in ("train", "test")}
    values = np.vstack([basis.project(structure) for structure in sets["train"].structures])
    c = 0.1 * rng.normal(size=(basis.size, 2)) / np.std(values, axis=0)[:, None]
    c[:, 1] += np.linalg.lstsq(values, np.ones(len(values)), rcond=1e-3)[0]
    truth = model.potential(basis, c, {})
    for name, data in sets.items():
        frames = []
        for frame, found in zip(data, truth.predict(data.structures), strict=True):
            labels = Labels(energy=found.energy, forces=found.forces, group=frame.labels.group)
            frames.append(Frame(frame.structure, labels))
        write(Dataset(tuple(frames), name), diamond / f"curved_{name}.extxyz")
    return diamond


@pytest.fixture
def two(ace: dict[str, Any], curved: Path) -> dict[str, Any]:
    data = {name: str(curved / f"curved_{name}.extxyz") for name in ("train", "test")}
    return with_model({**ace, "data": data}, **TWO)


def test_two_densities(two: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loss, "standard_error", lambda *args: np.inf)  # isolated atoms are held at zero
    result = fw.tune(two)
    assert "nonlinear" not in result.trials[0].metrics  # one setting: nothing to choose, so they are fitted once
    found = result.summary["densities"]
    assert found["kept"] and found["loss"] < 0.7 * found["linear_loss"]
    assert found["curve"][found["iterations"]] == min(found["curve"])
    assert "held at 0 eV" in result.summary["reference_energies"]["isolated_atoms"]
    potential = fw.load(result.folder / "potential")
    assert potential.fitted.coefficients.shape[1] == 2 and potential.fitted.covariance is None
    test = fw.read(two["data"]["test"])
    errors = fw.evaluate(potential, test).overall
    assert errors.force_rmse_eV_per_A == pytest.approx(result.summary["test"]["force_rmse_eV_per_A"], rel=1e-9)
    same(potential, fw.load(result.folder / "potential" / "model.yace"), test.structures[0])
    with pytest.raises(InputError, match="no posterior covariance"):
        potential.energy_standard_error(test.structures)
    assert potential.predict([Structure([6], [[0, 0, 0]])])[0].energy == 0.0


def refined(config: dict[str, Any], **changes: Any) -> tuple[Problem, LinearTrial]:
    problem = problem_of({**config, **changes})
    return problem, fit_linear(problem, {}, 0)


def test_folds_are_predicted_as_long_as_the_others_say(two: dict[str, Any]) -> None:
    problem, fitted = refined(with_model(two, nonlinear={"iterations": 8, "patience": 8}), prior={"sharing": "none"})
    told = fitted.diagnostics["nonlinear"]
    assert told["kept"] and told["stages"] == list(fitted.iterations) == [told["iterations"]]
    assert problem.loss.of(problem.validation, fitted.predictions) == pytest.approx(told["loss"])
    # searches on the other folds, written out: how they predict the fold after every iteration
    model = model_of(problem)
    linear = fit_linear(replace(problem, model={**problem.model, "densities": 1}), {}, 0, fitted.search.theta)
    fit, _ = linear_trial._Rows(problem, linear.basis).assemble(factored=False)
    weights = refinement.row_weights(linear, problem.train, None)
    whole = model.refinement().prepare(linear.basis, problem.train, problem.energies, weights, 1)
    everything, starts = refinement._starts(fit, linear)
    curves = []
    for fold, start in enumerate(starts):
        path = whole.of(np.flatnonzero(problem.folds != fold)).search(start, np.random.default_rng([problem.seed, 5]))
        curves.append([whole.of(np.flatnonzero(problem.folds == fold)).predict(x) for x in path[0]])
    length = max(len(curve) for curve in curves)

    def parts(fold: int, k: int) -> Any:
        held = problem.train[np.flatnonzero(problem.folds == fold)]
        return problem.loss.parts(held, curves[fold][min(k, len(curves[fold]) - 1)])

    for fold in range(3):
        others = [other for other in range(3) if other != fold]
        losses = [
            problem.loss.of_parts(
                problem.train, *(np.vstack(one) for one in zip(*(parts(o, k) for o in others), strict=True))
            )
            for k in range(length)
        ]
        own = curves[fold][min(int(np.argmin(losses)), len(curves[fold]) - 1)]
        for i, prediction in zip(np.flatnonzero(problem.folds == fold), own, strict=True):
            assert fitted.predictions[i].energy == pytest.approx(prediction.energy, abs=1e-7)
    final = whole.search(everything, np.random.default_rng([problem.seed, 5]), stages=fitted.iterations)[-1][-1]
    np.testing.assert_allclose(fitted.coefficients, final.c, rtol=1e-7)


def test_a_linear_fit_that_predicts_better_is_kept_in_every_refit(
    two: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refit to everything must not search on, judged by the frames that it is fitted to."""
    true, asked = NonlinearFit.predict, refinement.refine

    def worse(self: Any, x: Any) -> Any:
        return [replace(one, energy=one.energy + 100.0) for one in true(self, x)]

    def watched(problem: Any, model: Any, fit: Any, linear: Any, stages: Any = None) -> Any:
        if stages is not None:  # from here on everything would look good
            monkeypatch.setattr(NonlinearFit, "predict", true)
        return asked(problem, model, fit, linear, stages)

    monkeypatch.setattr(NonlinearFit, "predict", worse)
    monkeypatch.setattr(linear_trial, "refine", watched)
    held = problem_of({**two, "validation": {"holdout": 0.25}})
    fitted = fit_linear(held, {}, 0)
    assert fitted.iterations == () and not fitted.diagnostics["nonlinear"]["kept"]
    assert fitted.coefficients.ndim == 1 and fitted.covariance is not None
    everything = replace(held, external=held.train)
    assert fit_linear(everything, {}, 0, fitted.search.theta, fitted).coefficients.ndim == 1


def test_refits_take_the_iterations_that_validation_has_chosen(
    two: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fits whose judged frames are also reported must not choose by them: holdout, nested and pruned folds."""
    asked: list[Any] = []
    original = refinement.refine

    def watched(problem: Any, model: Any, fit: Any, linear: Any, stages: Any = None) -> Any:
        found = original(problem, model, fit, linear, stages)
        asked.append((stages, found.iterations))
        return found

    monkeypatch.setattr(linear_trial, "refine", watched)
    result = fw.tune({**two, "validation": {"holdout": 0.25}})
    assert asked[-1][0] is not None and asked[-1][0] == asked[-1][1]
    assert result.potential.fitted.coefficients.shape[1] == 2
    asked.clear()
    refined(with_model(two, prune={"products": 20}))
    assert asked[0][0] is None and [stages for stages, _ in asked[1:]] == [asked[0][1]] * 3


def test_ladder_and_upfit_are_followed_in_the_fit_to_everything(two: dict[str, Any]) -> None:
    steps = {"iterations": 4, "patience": 4, "steps": [0.5, 1.0], "upfit": 3.0, "upfit_iterations": 3}
    problem, fitted = refined(with_model(two, nonlinear=steps), prior={"sharing": "none"})
    told = fitted.diagnostics["nonlinear"]
    assert told["kept"] and len(told["curve"]) == 1 + 4 + 4 + 3
    assert told["curve"][told["iterations"]] == min(told["curve"])
    assert sum(told["stages"]) == told["iterations"] > 4  # the second step makes it better
    model = model_of(problem)
    linear = fit_linear(replace(problem, model={**problem.model, "densities": 1}), {}, 0, fitted.search.theta)
    fit, _ = linear_trial._Rows(problem, linear.basis).assemble(factored=False)
    weights = refinement.row_weights(linear, problem.train, None)
    whole = model.refinement().prepare(linear.basis, problem.train, problem.energies, weights, 1)
    start = refinement._starts(fit, linear)[0]
    path = whole.search(start, np.random.default_rng([problem.seed, 5]))
    stage, last = len(told["stages"]) - 1, told["stages"][-1]
    np.testing.assert_allclose(fitted.coefficients, path[stage][last - (stage > 0)].c, rtol=1e-7)


def test_external_validation_and_qr_with_two_densities(two: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    external = {"external": two["data"]["test"]}
    alone = {"sharing": "none"}
    problem, plain = refined(two, validation=external, prior=alone)
    assert len(plain.predictions) == 4 and plain.diagnostics["nonlinear"]["kept"]
    monkeypatch.setattr(linear_trial, "_SINGULAR", 1.0)  # as if every design were singular
    _, careful = refined(two, validation=external, prior=alone)
    assert (plain.diagnostics["solver"], careful.diagnostics["solver"]) == ("cholesky", "qr")
    assert careful.iterations == plain.iterations
    assert careful.diagnostics["nonlinear"]["loss"] == pytest.approx(plain.diagnostics["nonlinear"]["loss"], rel=1e-3)


def test_nested_selection_with_pruning_and_two_densities(two: dict[str, Any]) -> None:
    config = with_model(two, prune={"products": 20}, nonlinear={"iterations": 4})
    result = fw.tune({**config, "validation": {"kfold": 3, "nested": True}})
    assert result.summary["nested"]["frames"] == 16 and result.summary["nested"]["force_rmse_eV_per_A"] > 0
    nested = result.trials[0].metrics["nested"]
    assert len(nested) == 3 and all(len(one["iterations"]) <= 1 for one in nested)


def test_weights_by_kappa(two: dict[str, Any]) -> None:
    problem = problem_of(two)
    linear = fit_linear(replace(problem, model={**problem.model, "densities": 1}), {}, 0)
    own = [(w.energy**2 + w.force**2) for w in refinement.row_weights(linear, problem.train, None)]
    for kappa in (0.0, 0.3, 1.0):
        weights = refinement.row_weights(linear, problem.train, kappa)
        squares = np.array([[w.energy**2, w.force**2] for w in weights])
        np.testing.assert_allclose(squares / squares.sum(axis=1, keepdims=True), [[1 - kappa, kappa]] * len(squares))
        assert squares.sum(axis=1).mean() == pytest.approx(np.mean(own))


def test_wrong_radial_family_on_the_command_line(
    ace: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(with_model(ace, radial="Bessel")))
    monkeypatch.setattr(sys, "argv", ["forcewright", "tune", str(tmp_path / "study.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 1 and told.count("\n") == 0
    assert told.startswith("error: ") and "'model.radial'" in told and "'SBessel'" in told


@pytest.mark.parametrize(
    ("changes", "name", "kind"),
    [
        ({"functions": {"low": 10, "high": 100, "log": True}}, "functions", Integer),
        ({"densities": {"low": 1, "high": 3}}, "densities", Integer),
        ({"nradmax": [{"low": 2, "high": 4}, 2, 1]}, "nradmax.0", Integer),
        ({"prune": {"products": {"low": 100, "high": 1000}}}, "prune.products", Integer),
        ({"prune": {"gamma": {"low": 0, "high": 1}}}, "prune.gamma", Real),
        ({"nonlinear": {"iterations": {"low": 5, "high": 10}}}, "nonlinear.iterations", Integer),
        ({"densities": 2, "exponents": [1.0, {"low": 0.3, "high": 2}]}, "exponents.1", Real),
        ({"repulsion": {"inner": {"low": 1, "high": 2}}}, "repulsion.inner", Real),
        ({"repulsion": {"inner": {"C-H": {"low": 1, "high": 2}}}}, "repulsion.inner.C-H", Real),
        ({"rcut_pairs": {"C-H": {"low": 2, "high": 3}}}, "rcut_pairs.C-H", Real),
        ({"radial": {"choices": ["SBessel", "ChebPow"]}}, "radial", Categorical),
    ],
)
def test_a_range_may_stand_for_every_number(
    ace: dict[str, Any], changes: dict[str, Any], name: str, kind: type
) -> None:
    model = {**ace["model"], **changes}
    ranges = search_ranges(model)
    assert list(ranges) == [name] and isinstance(ranges[name], kind)
    fill_model(model, {name: ranges[name].from_unit(0.37)})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"radial": "SBesel"}, "model.radial.*'SBesel'.*'SBessel'"),
        ({"radail": "SBessel"}, "model.radail.*did you mean 'radial'"),
        ({"functions": 0}, "model.functions.*greater than or equal to 1"),
        ({"lmax": [0, 2]}, "nradmax has 3 numbers and lmax has 2"),
        ({"densities": 2, "exponents": [1.0]}, "exponents has 1 numbers for 2 densities"),
        ({"prune": {"products": 0}}, "model.prune.products"),
        ({"nonlinear": {"iteration": 4}}, "did you mean 'iterations'"),
        ({"repulsion": "zbl"}, "model.repulsion"),
        ({"rcut_pairs": {"C-Si": 3.0}}, "model.rcut_pairs.*pairs of H, C"),
        ({"rcut": 0.4, "repulsion": None}, "model.rcut.*without a neighbor"),
        ({"rcut": {"low": 0.3, "high": 0.4}, "repulsion": None}, "model.rcut.*without a neighbor"),
        ({"radial": {"choices": ["SBessel", "Bessel"]}}, "model.radial.*'Bessel'"),
    ],
)
def test_mistakes_end_in_a_sentence(ace: dict[str, Any], changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ForcewrightError, match=sentence) as refused:
        fw.tune(with_model(ace, **changes))
    assert "\n" not in str(refused.value) and "Traceback" not in str(refused.value)
