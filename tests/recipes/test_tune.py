from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import forcewright as fw
from forcewright.data import read, write
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.linear_trial import fit_linear, require_memory
from forcewright.fitting.normal_equations import accumulate
from forcewright.fitting.problem import Problem, make_problem
from forcewright.recipes.config import parse_config
from forcewright.recipes.inputs import read_inputs
from forcewright.recipes.outputs import rebuild_report
from forcewright.structure import Dataset, Frame, Labels, Structure


def trials_of(result) -> list[tuple]:
    return [(t.index, t.params, t.loss) for t in result.trials]


def problem_of(config: dict[str, Any], **changes: Any) -> Problem:
    settings = parse_config({**config, **changes}, folder=Path())
    inputs = read_inputs(settings)
    return make_problem(
        settings, inputs.train, test=inputs.test, external=inputs.external, rows=RowMemory(10**8), scratch=Path()
    )


@pytest.mark.whole
def test_study_writes_everything_and_resumes(config: dict[str, Any]) -> None:
    seen: list[int] = []
    first = fw.tune(config, on_trial=lambda trial, wanted: seen.append(wanted))
    folder = first.folder
    assert seen == [3, 3, 3]
    summary = json.loads((folder / "result.json").read_text())
    assert summary == first.summary
    for key in (
        "settings", "validation", "test", "trials", "evaluations", "wall_s", "cpu_s", "peak_memory_bytes",
        "cost_us_per_atom", "protocol", "versions", "data_hashes",
    ):  # fmt: skip
        assert key in summary
    for part in ("validation", "test"):
        for table in (summary[part], *summary[part]["groups"].values()):
            for key in (
                "energy_rmse_meV_per_atom",
                "energy_mae_meV_per_atom",
                "force_rmse_eV_per_A",
                "force_mae_eV_per_A",
            ):
                assert table[key] > 0 and table["standard_error"][key] >= 0
    assert summary["trials"] == 3 and summary["evaluations"] > 3 and summary["protocol"] == "honest"
    assert len((folder / "trials.csv").read_text().splitlines()) == 4
    assert len((folder / "trials_by_group.csv").read_text().splitlines()) == 7
    assert "<svg" in (folder / "report.html").read_text() or "data:image" in (folder / "report.html").read_text()
    assert not (folder / "cache").exists()

    # the loaded winner is the one that was judged
    potential = fw.load(folder / "potential")
    errors = fw.evaluate(potential, fw.read(config["data"]["test"]))
    assert errors.overall.force_rmse_eV_per_A == pytest.approx(summary["test"]["force_rmse_eV_per_A"], rel=1e-9)

    again = fw.tune(config)  # nothing left to do
    assert trials_of(again) == trials_of(first)
    more = fw.tune({**config, "study": {"settings": 4, "initial": 2, "seed": 1}})
    assert trials_of(more)[:3] == trials_of(first) and len(more.trials) == 4

    # the resolved config runs as it stands and is the same study
    resolved = yaml.safe_load((folder / "config.resolved.yaml").read_text())
    assert trials_of(fw.tune(resolved)) == trials_of(more)

    with pytest.raises(ForcewrightError, match="--fresh"):
        fw.tune({**config, "loss": {"alpha": 0.5}})
    fresh = fw.tune({**config, "loss": {"alpha": 0.5}}, fresh=True)
    assert len(fresh.trials) == 3
    page = rebuild_report(folder)
    assert page.read_text().count("<html") == 1


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_study_is_returned_as_it_is(config: dict[str, Any], tmp_path: Path) -> None:
    test = tmp_path / "test.extxyz"
    shutil.copy(config["data"]["test"], test)
    config = {**config, "data": {**config["data"], "test": str(test)}}
    first = fw.tune(config)
    before, potential = files_in(first.folder), files_in(first.folder / "potential")

    again = fw.tune(config)
    after = files_in(first.folder)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"forcewright.log"}
    assert again.summary == first.summary and trials_of(again) == trials_of(first)
    for one, other in ((again.validation, first.validation), (again.test, first.test)):
        assert one.to_dict() == other.to_dict()
        np.testing.assert_array_equal(one.parity.forces.predicted, other.parity.forces.predicted)
    np.testing.assert_array_equal(again.potential.coefficients, first.potential.coefficients)

    # without its potential, or with a damaged one, it is refitted: to the same potential
    shutil.rmtree(first.folder / "potential")
    made = fw.tune(config)
    assert files_in(first.folder / "potential") == potential
    assert made.validation.to_dict() == first.validation.to_dict() and made.test.to_dict() == first.test.to_dict()
    (first.folder / "potential" / "potential.json").write_text("{")
    fw.tune(config)
    assert files_in(first.folder / "potential") == potential

    # other data are judged anew
    write(read([test])[:5], test)
    assert fw.tune(config).test.overall.frames == 5


@pytest.mark.whole
def test_number_of_workers_changes_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    one = fw.tune(config)
    two = fw.tune({**config, "workers": 2, "output": str(tmp_path / "two")})
    assert trials_of(one) == trials_of(two)
    np.testing.assert_array_equal(one.potential.coefficients, two.potential.coefficients)


def test_gram_only_errors_equal_direct_evaluation(config: dict[str, Any]) -> None:
    problem = problem_of(config, weights={"stress": {"low": 1, "high": 100}}, loss={"stress": 0.1})
    fitted = fit_linear(problem, {"rcut": 4.0, "rfac0": 0.9}, 0)
    assert fitted.diagnostics["gram_mismatch"] < 1e-6
    direct = problem.loss.pooled(problem.validation, fitted.predictions)
    total = direct @ [problem.loss.weights.of(name) for name in ("energy", "force", "stress")]
    assert fitted.search.loss == pytest.approx(total, rel=1e-6)


def test_folds_are_predicted_by_fits_that_have_not_seen_them(config: dict[str, Any]) -> None:
    """Refit one fold's complement by plain least squares on the rows and predict the fold."""
    problem = problem_of(config, prior="none")
    params = {"rcut": 4.0, "rfac0": 0.9}
    fitted = fit_linear(problem, params, 0)
    from forcewright.fitting.hyperparameters import fill_model
    from forcewright.fitting.linear_fit import Prior, predict_rows, split_coefficients
    from forcewright.fitting.normal_equations import labelled_rows, training_row

    basis = fill_model(problem.model, params).basis(problem.train.species)
    weights = {(t.group, t.property): w for t, w in zip(fitted.terms, np.exp(fitted.search.theta), strict=False)}
    blocks = []
    for i in np.flatnonzero(problem.folds != 2):
        frame = problem.train[int(i)]
        rows = labelled_rows(
            frame, basis.rows(frame.structure), problem.energies, problem.loss.properties, problem.free_species
        )
        blocks += [
            weights[frame.labels.group, name] * training_row(name, block, len(frame.structure))
            for name, block in rows.items()
        ]
    stacked = np.vstack(blocks)
    # columns scaled as the fit scales them: unit diagonal at the middle of the weight ranges
    from forcewright.fitting.linear_trial import weight_space

    space = weight_space(problem, fitted.terms, Prior(np.zeros((0, 0)), np.zeros(0)))
    middle = np.exp(space.theta(space.middle)[:-1])
    nominal = {(t.group, t.property): w for t, w in zip(fitted.terms, middle, strict=True)}
    columns = basis.size + len(problem.free_species)
    norms = np.zeros(columns)
    for frame in problem.train:
        rows = labelled_rows(
            frame, basis.rows(frame.structure), problem.energies, problem.loss.properties, problem.free_species
        )
        for name, block in rows.items():
            part = nominal[frame.labels.group, name] * training_row(name, block, len(frame.structure))
            norms += np.sum(part[:, :-1] ** 2, axis=0)
    scale = np.where(norms > 0, 1 / np.sqrt(np.where(norms > 0, norms, 1)), 1)
    ridge = np.sqrt(np.exp(fitted.search.theta[-1])) * np.eye(columns)
    system = np.vstack([stacked[:, :-1] * scale, ridge])
    solution = np.linalg.lstsq(system, np.append(stacked[:, -1], np.zeros(columns)), rcond=None)[0] * scale
    for i in np.flatnonzero(problem.folds == 2):
        structure = problem.train[int(i)].structure
        expected = predict_rows(
            structure, basis.rows(structure), *split_coefficients(solution, problem.energies, problem.free_species)
        )
        assert fitted.predictions[i].energy == pytest.approx(expected.energy, abs=1e-5)
        np.testing.assert_allclose(fitted.predictions[i].forces, expected.forces, atol=1e-5)


def test_cholesky_and_qr_find_the_same_fit(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from forcewright.fitting import linear_trial

    params = {"rcut": 4.0, "rfac0": 0.9}
    plain = fit_linear(problem_of(config), params, 0)
    monkeypatch.setattr(linear_trial, "_SINGULAR", 1.0)  # as if every design were singular
    careful = fit_linear(problem_of(config), params, 0, plain.search.theta)
    assert (plain.diagnostics["solver"], careful.diagnostics["solver"]) == ("cholesky", "qr")
    np.testing.assert_allclose(careful.coefficients, plain.coefficients, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        careful.covariance, plain.covariance, rtol=1e-4, atol=1e-12 + 1e-6 * np.abs(plain.covariance).max()
    )


def test_weights_that_normal_equations_cannot_solve_go_to_qr(config: dict[str, Any]) -> None:
    whole = problem_of(config)
    one = whole.train[:1]
    problem = replace(whole, train=one, folds=np.zeros(1, dtype=np.int64), external=one)
    theta = np.array(
        [0.0, -80.0, -80.0, -160.0]
    )  # of energy, force, stress and ridge: as good as one row for many columns
    fitted = fit_linear(problem, {"rcut": 4.0, "rfac0": 0.9}, 0, theta)
    assert fitted.diagnostics["solver"] == "qr" and fitted.diagnostics["columns"] > 1
    assert fitted.predictions[0].energy == pytest.approx(one.labels[0].energy, abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": {"holdout": 0.25}},
        {"validation": {"kfold": 3, "nested": True}},
        {"protocol": "xpot"},
        {"loss": {"metric": "mae"}},
        {"loss": {"metric": "huber", "huber_delta": 0.05}},
        {"loss": {"alpha": {"energy_meV_per_atom": 2, "force_eV_per_A": 0.1}}},
        {"weights": {"by": "all", "stress": {"low": 1, "high": 100}, "groups": {"surface": {"energy": 500}}}},
        {"reference_energies": "zero"},
        {"reference_energies": "least_squares"},
        {"reference_energies": {"Cu": 0.1}},
    ],
)
def test_other_ways_to_run(config: dict[str, Any], changes: dict[str, Any]) -> None:
    result = fw.tune({**config, **changes, "study": {"settings": 1, "initial": 1}})
    assert result.summary["test"]["force_rmse_eV_per_A"] < 0.5
    if changes.get("protocol") == "xpot":
        assert result.summary["validation"]["force_rmse_eV_per_A"] == pytest.approx(
            result.summary["test"]["force_rmse_eV_per_A"], rel=1e-6
        )
        assert "These errors are too small" in (result.folder / "report.html").read_text()
    if "nested" in changes.get("validation", {}):
        nested = result.summary["nested"]
        assert nested["frames"] == 40 and nested["force_rmse_eV_per_A"] > 0
    if "alpha" in changes.get("loss", {}):
        # both parts of the loss contribute evenly at the accuracies wanted
        problem = problem_of({**config, **changes})
        size = np.mean([len(s) for s in problem.train.structures])
        assert problem.loss.weights.energy * 2e-3 * np.sqrt(size) == pytest.approx(
            problem.loss.weights.force * 0.1 * np.sqrt(3)
        )
    if "reference_energies" in changes:
        fitted = result.potential.covariance.shape[0] > result.potential.basis.size
        assert fitted == (changes["reference_energies"] == "least_squares")
    if changes.get("weights"):
        assert result.summary["settings"]["weights"]["surface"]["energy"] == pytest.approx(500)
        assert result.summary["test"]["stress_rmse_GPa"] < 5


def test_external_validation(config: dict[str, Any], copper: Path) -> None:
    result = fw.tune(
        {**config, "validation": {"external": str(copper / "test.extxyz")}, "study": {"settings": 1, "initial": 1}}
    )
    assert result.summary["validation"]["frames"] == 12


def test_isolated_atoms_give_the_reference_energy_and_stay_out_of_the_fit(
    config: dict[str, Any], tmp_path: Path
) -> None:
    train = read(config["data"]["train"])
    atom = Frame(Structure([29], [[0.0, 0.0, 0.0]]), Labels(energy=-0.25, group="isolated_atom"))
    write(Dataset((*train.frames, atom)), tmp_path / "with_atom.extxyz")
    data = {**config["data"], "train": str(tmp_path / "with_atom.extxyz")}
    result = fw.tune({**config, "data": data, "study": {"settings": 1, "initial": 1}})
    assert result.summary["reference_energies"] == {
        "source": "isolated atoms",
        "eV": {"Cu": -0.25},
        "isolated_atoms": "as given by the reference energies",
    }
    assert result.summary["validation"]["frames"] == 40
    assert result.potential.predict([atom.structure])[0].energy == pytest.approx(-0.25, abs=1e-12)


@pytest.mark.whole
def test_a_failed_fit_is_a_failed_trial(config: dict[str, Any]) -> None:
    """A rmin0 above the cutoff is impossible; the study goes on."""
    model = {**config["model"], "rcut": {"low": 3.0, "high": 3.4}, "rmin0": {"low": 2.0, "high": 3.9}}
    result = fw.tune({**config, "model": model, "study": {"settings": 6, "initial": 6}})
    failed = [trial for trial in result.trials if trial.loss is None]
    assert failed and len(failed) < 6 and "rmin0" in failed[0].error
    assert result.summary["failed_trials"] == len(failed)


def test_fit_takes_numbers_only(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is a range"):
        fw.fit(config)
    result = fw.fit({**config, "model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}})
    assert result.summary["trials"] == 1


def test_memory_is_told_before_it_is_taken(config: dict[str, Any]) -> None:
    with pytest.raises(ForcewrightError, match=r"need .* GB .* are free; lower twojmax"):
        require_memory(problem_of(config), 10**6)


def test_a_mistake_costs_no_earlier_results(config: dict[str, Any], tmp_path: Path) -> None:
    first = fw.tune(config)
    with pytest.raises(InputError):
        fw.tune({**config, "data": {"train": str(tmp_path / "none.extxyz")}}, fresh=True)
    assert (first.folder / "result.json").exists() and trials_of(fw.tune(config)) == trials_of(first)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written or read: Not a directory"):
        fw.tune({**config, "output": str(tmp_path / "file" / "run")})


def test_inputs_that_do_not_fit_together(config: dict[str, Any], copper: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the groups are bulk, surface"):
        fw.tune({**config, "weights": {"groups": {"liquid": {"energy": 1}}}})
    with pytest.raises(InputError, match="not every element has an isolated atom"):
        fw.tune({**config, "reference_energies": "isolated"})
    with pytest.raises(InputError, match="has no energy for Cu"):
        fw.tune({**config, "reference_energies": {"Al": 1.0}})
    with pytest.raises(InputError, match="'Xx' is an unknown element"):
        fw.tune({**config, "reference_energies": {"Xx": 1.0}})
    test = read(copper / "test.extxyz")
    numbers = np.array(test[0].structure.numbers)
    numbers[0] = 47
    odd = Structure(numbers, test[0].structure.positions, test[0].structure.cell, test[0].structure.pbc)
    write(Dataset((Frame(odd, test[0].labels),)), tmp_path / "odd.extxyz")
    with pytest.raises(InputError, match="holds Ag"):
        fw.tune({**config, "data": {**config["data"], "test": str(tmp_path / "odd.extxyz")}})


def test_folding_needs_labels() -> None:
    bare = Dataset((Frame(Structure([29], [[0, 0, 0]]), Labels()),))
    with pytest.raises(InputError, match="carries any of energy, force"):
        accumulate(bare, lambda i: None, 3, {29: 0.0}, [0])


def test_a_prior_is_searched_where_the_basis_offers_one(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forcewright.features.bispectrum import Bispectrum

    plain = fw.tune({**config, "study": {"settings": 1, "initial": 1}, "output": config["output"] + "_plain"})
    assert plain.summary["settings"]["prior"] == {"scale": "basis", "smoothness": "none", "sharing": "none"}
    monkeypatch.setattr(
        Bispectrum, "prior_features", lambda self: np.log1p(np.arange(self.size))[:, None], raising=False
    )
    problem, params = problem_of(config), {"rcut": 4.0, "rfac0": 0.9}
    free = fit_linear(problem, params, 0)
    assert len(free.search.theta) == len(free.terms) + 2 and 0.0 <= free.search.theta[-1] <= 3.0
    assert free.diagnostics["gram_mismatch"] < 1e-6
    without = fit_linear(problem_of(config, prior="none"), params, 0)
    assert len(without.search.theta) == len(without.terms) + 1
    given = fit_linear(problem_of(config, prior=[1.5]), params, 0)
    assert given.search.theta[-1] == 1.5
    # the same weights, ridge and exponents give the same fit, however they were asked for
    again = fit_linear(problem_of(config, prior=[0.0]), params, 0, np.append(without.search.theta, 0.0))
    np.testing.assert_array_equal(again.coefficients, without.coefficients)
    with pytest.raises(InputError, match="has 2 numbers; this basis takes 1"):
        fit_linear(problem_of(config, prior=[1.0, 2.0]), params, 0)


def test_accuracy_and_cost_as_two_objectives(config: dict[str, Any]) -> None:
    study = {"settings": 5, "initial": 3, "objectives": ["loss", "cost"], "max_cost_us_per_atom": 1e9}
    first = fw.tune({**config, "study": study})
    assert [t.phase for t in first.trials] == ["initial"] * 3 + ["gp"] * 2
    assert (
        first.summary["warnings"] == [] and first.summary["best_trial"] == min(first.trials, key=lambda t: t.loss).index
    )
    rows = list(csv.DictReader((first.folder / "trials.csv").read_text().splitlines()))
    values = np.array([[float(row["loss"]), float(row["cost_us_per_atom"])] for row in rows])
    for row, value in zip(rows, values, strict=True):
        beaten = any((other <= value).all() and (other < value).any() for other in values)
        assert row["pareto"] == str(not beaten)
    assert [row["index"] for row in rows if row["chosen"] == "True"] == [str(first.summary["best_trial"])]

    # the same trials, another limit: the search is not repeated, and the choice keeps to it
    costs = sorted(values[:, 1])
    limit = (costs[1] + costs[2]) / 2
    limited = fw.tune({**config, "study": {**study, "max_cost_us_per_atom": limit}})
    assert trials_of(limited) == trials_of(first)
    allowed = [t for t in limited.trials if t.metrics["cost_us_per_atom"] <= limit]
    assert len(allowed) == 2
    assert limited.summary["best_trial"] == min(allowed, key=lambda t: t.loss).index
    impossible = fw.tune({**config, "study": {**study, "max_cost_us_per_atom": costs[0] / 2}})
    chosen = impossible.summary["best_trial"]
    assert impossible.trials[chosen].metrics["cost_us_per_atom"] == costs[0]
    assert "No trial keeps to max_cost_us_per_atom" in impossible.summary["warnings"][0]
    assert impossible.summary["warnings"][0] in (first.folder / "forcewright.log").read_text()
    assert impossible.summary["warnings"][0] in (first.folder / "report.html").read_text()
    with pytest.raises(InputError, match="study.objectives"):
        fw.tune({**config, "study": {"objectives": ["loss", "size"]}})
