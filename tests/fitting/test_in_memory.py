"""Fits in memory are those of a config to the last digit; committees are weighted least squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.committee import committee_of
from forcewright.fitting.in_memory import run_study
from forcewright.fitting.linear_fit import split_coefficients
from forcewright.fitting.linear_trial import fit_linear
from forcewright.fitting.normal_equations import labelled_rows, training_row
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.settings import CommitteeSettings, FitSettings
from forcewright.fitting.subsets import SubsetFits

MODEL = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
SETTINGS: dict[str, Any] = {"validation": {"kfold": 4}, "search": {"starts": 2, "evaluations": 15}}


@pytest.fixture(scope="module")
def train(copper: Path) -> fw.Dataset:
    return fw.read(copper / "train.extxyz")


@pytest.fixture(scope="module")
def from_config(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")}
    output = str(tmp_path_factory.mktemp("fit") / "run")
    return fw.fit({**SETTINGS, "data": data, "model": MODEL, "output": output})


def test_structures_of_every_form_give_the_fit_of_the_config(copper: Path, train: fw.Dataset, from_config: Any) -> None:
    frames = ase.io.read(copper / "train.extxyz", ":")
    for data in (train, frames, str(copper / "train.extxyz"), [copper / "train.extxyz"]):
        result = fw.fit(data, model=MODEL, test=copper / "test.extxyz", **SETTINGS)
        np.testing.assert_array_equal(result.potential.coefficients, from_config.potential.coefficients)
        assert result.test.to_dict() == from_config.test.to_dict() and result.folder is None
        assert result.summary["settings"] == from_config.summary["settings"]


def test_an_output_folder_is_that_of_a_config(train: fw.Dataset, from_config: Any, tmp_path: Path) -> None:
    result = fw.fit(train, model=MODEL, output=tmp_path / "run", **SETTINGS)
    np.testing.assert_array_equal(result.potential.coefficients, from_config.potential.coefficients)
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "potential").is_dir()
    again = fw.fit(tmp_path / "run" / "config.resolved.yaml")
    assert again.summary == result.summary


def test_ranges_are_searched_in_memory(train: fw.Dataset, copper: Path, tmp_path: Path) -> None:
    model = {**MODEL, "rcut": {"low": 3.0, "high": 4.5}}
    study = {"trials": 3, "initial": 2, "seed": 1}
    result = fw.tune(train, model=model, study=study, workers=1, **SETTINGS)
    data = {"train": str(copper / "train.extxyz")}
    peer = fw.tune({**SETTINGS, "data": data, "model": model, "study": study, "output": str(tmp_path), "workers": 1})
    assert [(t.params, t.loss) for t in result.trials] == [(t.params, t.loss) for t in peer.trials]
    assert len(repr(result)) < 500 and len(result.to_rows()) == 3
    with pytest.raises(InputError, match="is a range"):
        fw.fit(train, model=model)


def test_a_family_with_a_fit_of_its_own_in_memory(train: fw.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("quippy", reason="the package quippy-ase is not installed")
    model = {"kind": "gap", "two_body": {"cutoff": 4.0, "n_sparse": 5}, "soap": None}
    result = fw.fit(train[:16], model=model, validation={"holdout": 0.3})
    predictions = result.potential.predict(train[:2])  # after what its fit wrote has been cleared away
    again = fw.load(result.potential.save(tmp_path / "gap")).predict(train[:2])
    assert [p.energy for p in predictions] == pytest.approx([p.energy for p in again], abs=1e-10)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": {"kind": "snop"}}, "did you mean snap"),
        ({"model": {**MODEL, "rcutt": 4.0}}, "did you mean 'rcut'"),
        ({"model": MODEL, "weigths": {}}, "did you mean 'weights'"),
        ({"model": MODEL, "test": 3}, "int"),
        ({"test": "x.extxyz"}, "model"),
    ],
)
def test_mistakes_are_sentences(train: fw.Dataset, arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ForcewrightError, match=match):
        fw.fit(train, **arguments)


def test_validation_on_a_set_of_its_own(train: fw.Dataset, copper: Path) -> None:
    result = fw.fit(train, model=MODEL, validation=copper / "test.extxyz", search=SETTINGS["search"])
    errors = fw.evaluate(result.potential, copper / "test.extxyz").overall
    assert result.validation.overall.frames == 12
    assert result.validation.overall.force_rmse_eV_per_A == pytest.approx(errors.force_rmse_eV_per_A, rel=1e-6)


def problem_of(train: fw.Dataset, **changes: Any) -> Problem:
    settings = FitSettings.model_validate({**SETTINGS, "model": MODEL, **changes})
    return make_problem(settings, train, rows=RowMemory(10**8), scratch=Path())


def test_members_of_a_bootstrap_are_least_squares_with_counted_blocks(train: fw.Dataset) -> None:
    problem = problem_of(train, reference_energies="least_squares", ridge=1e-12)
    settings = CommitteeSettings(members=3)
    trial = fit_linear(problem, {}, 0, blocks=settings.blocks)
    committee = committee_of(problem, {}, trial, settings)
    assert len(trial.fit.blocks.training) >= 20
    draws = np.random.default_rng([problem.seed, 7]).exponential(size=(3, len(trial.fit.blocks.training)))
    weights = {(t.group, t.property): w for t, w in zip(trial.terms, np.exp(trial.search.theta), strict=False)}
    # the frames of every block: those that the block's normal equations count
    from forcewright.fitting.linear_trial import _blocks

    block_of, fold_of_block = _blocks(problem, settings.blocks)
    assert np.array_equal(fold_of_block[block_of], problem.folds)  # no block reaches over two folds
    for member, draw in zip(committee.members, draws, strict=True):
        rows = []
        for frame, block in zip(problem.train, block_of, strict=True):
            design = trial.basis.rows(frame.structure)
            for name, part in labelled_rows(
                frame, design, problem.energies, problem.loss.properties, problem.free_species
            ).items():
                weight = weights[frame.labels.group, name] * np.sqrt(draw[block])
                rows.append(weight * training_row(name, part, len(frame.structure)))
        table = np.vstack(rows)
        solution = np.linalg.lstsq(table[:, :-1], table[:, -1], rcond=None)[0]
        expected, energies = split_coefficients(solution, problem.energies, problem.free_species)
        np.testing.assert_allclose(member.coefficients, expected, rtol=1e-4, atol=1e-7)
        assert member.reference_energies == pytest.approx(energies, rel=1e-5)


def test_members_of_folds_predict_what_validation_says(train: fw.Dataset) -> None:
    problem = problem_of(train)
    settings = CommitteeSettings(by="folds")
    trial = fit_linear(problem, {}, 0, blocks=settings.blocks)
    committee = committee_of(problem, {}, trial, settings)
    assert len(committee) == 4
    for index in range(0, 40, 7):
        member = committee.members[problem.folds[index]]
        energy = member.predict(problem.train[index].structure)[0].energy
        assert energy == pytest.approx(trial.predictions[index].energy, abs=1e-8)


def test_a_committee_spreads_and_averages(train: fw.Dataset, tmp_path: Path) -> None:
    result = fw.fit(train, model=MODEL, committee={"members": 4}, output=tmp_path / "run", **SETTINGS)
    committee = result.committee
    structures = train[:3]
    members = [member.predict(structures) for member in committee.members]
    for k, (mean, spread) in enumerate(zip(committee.predict(structures), committee.spread(structures), strict=True)):
        energies = [predictions[k].energy for predictions in members]
        forces = np.array([predictions[k].forces for predictions in members])
        assert mean.energy == pytest.approx(np.mean(energies)) and spread.energy == pytest.approx(
            np.std(energies, ddof=1)
        )
        np.testing.assert_allclose(spread.forces, np.sqrt((forces.std(axis=0, ddof=1) ** 2).sum(axis=1)))
    stored = fw.tune(tmp_path / "run" / "config.resolved.yaml").committee
    energies = [[p.energy for p in several.predict(structures)] for several in (stored, committee)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-12)
    with pytest.raises(InputError, match="applies to linear families"):
        fw.fit(train, model={"kind": "gap"}, committee={"members": 4})


def test_fits_to_parts_of_a_dataset_are_those_to_the_parts_alone(train: fw.Dataset) -> None:
    model = {**MODEL, "zbl": None}  # which the parts would place elsewhere than the whole
    settings = FitSettings.model_validate({**SETTINGS, "model": model})
    shared = SubsetFits(settings, train)
    for indices in ([*range(12)], [*range(5, 40, 2)]):
        together, alone = shared.fit(indices), run_study(settings, train[indices], graded=False)
        # a cautious search does not end where the loss is flat
        assert together.best.loss == pytest.approx(alone.best.loss, rel=1e-7)
        np.testing.assert_allclose(
            together.final.potential.coefficients, alone.final.potential.coefficients, rtol=1e-6, atol=1e-9
        )


def test_structures_in_memory_replace_no_file_and_members_no_committee(train: fw.Dataset, tmp_path: Path) -> None:
    """The folder may hold data of its own; members of an earlier committee are gone."""
    (tmp_path / "train.extxyz").write_text("mine")
    many = fw.fit(train, model=MODEL, committee=4, output=tmp_path, **SETTINGS)
    with pytest.raises(InputError, match="another config"):
        fw.fit(train[:20], model=MODEL, output=tmp_path, **SETTINGS)
    assert fw.fit(tmp_path / "config.resolved.yaml").summary == many.summary  # what was refused has changed nothing
    few = {"model": MODEL, "committee": 2, "output": tmp_path, **SETTINGS}
    assert len(fw.fit(train, **few).committee) == 2 and len(fw.fit(train, **few).committee) == 2
    assert len(fw.Committee.load(tmp_path / "committee")) == 2
    assert (tmp_path / "train.extxyz").read_text() == "mine"


def test_a_loss_on_the_test_set_needs_one(train: fw.Dataset) -> None:
    with pytest.raises(InputError, match="xpot selects on the test set"):
        fw.fit(train, model=MODEL, protocol="xpot")


def test_folds_without_folds_make_no_committee(train: fw.Dataset) -> None:
    with pytest.raises(InputError, match="folds need validation.kfold"):
        fw.fit(train, model=MODEL, validation=0.2, committee={"by": "folds"})


def test_a_part_that_lacks_an_element_is_fitted_by_itself(train: fw.Dataset) -> None:
    """The core of ACE is settled by the whole dataset, which knows pairs that a part does not."""
    mixed = []
    for frame in train[:4]:
        numbers = np.array(frame.structure.numbers)
        numbers[0] = 47
        structure = fw.Structure(numbers, frame.structure.positions, frame.structure.cell, frame.structure.pbc)
        mixed.append(fw.Frame(structure, frame.labels))
    both = fw.Dataset((*train[:12].frames, *mixed))
    model = {"kind": "ace", "functions": 10, "rcut": 4.0}
    settings = FitSettings.model_validate({**SETTINGS, "model": model})
    fits = SubsetFits(settings, both)
    assert fits.fit(range(12)).final.potential.species == (29,)
    assert fits.fit(range(16)).final.potential.species == (29, 47)
    alone = run_study(settings, both[range(12)], graded=False)
    assert fits.fit(range(12)).best.loss == alone.best.loss
