"""Alignment, atoms that are worst, ranks, profiles and overlaps: against what can be said beforehand, and the literature."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from scipy.stats import wasserstein_distance

from forcewright.accuracy.alignment import aligned, aligned_per_element
from forcewright.accuracy.assessment import LabelledSet, ModelPredictions, assess_models
from forcewright.accuracy.novelty import Novelty, domain_map, relation
from forcewright.accuracy.profiles import profile
from forcewright.accuracy.ranking import draw_frames, rank, sampled_rmse
from forcewright.accuracy.spectra import Spectrum, overlap, read_spectrum, wasserstein
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure

SHARED = Path(__file__).parents[3] / "shared" / "data" / "vibrations"


def frames_of(name: str, count: int, seed: int = 0, amplitude: float = 0.05) -> Dataset:
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        atoms = molecule(name)
        atoms.positions += rng.normal(scale=amplitude, size=atoms.positions.shape)
        structure = Structure(atoms.numbers, atoms.positions, np.zeros((3, 3)), [False] * 3)
        made.append(Frame(structure, Labels(rng.normal(), rng.normal(size=(len(atoms), 3))), f"{name}.xyz#{k}"))
    return Dataset(tuple(made), name)


def shifted(part: LabelledSet, energies: np.ndarray, forces: np.ndarray) -> ModelPredictions:
    return ModelPredictions(part.energies + np.atleast_2d(energies), part.forces + forces[None])


def test_alignments_take_away_what_they_say_and_no_more():
    counts = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    errors = np.array([5.0, 5.3, 4.6])
    assert aligned(errors, counts, "none") == pytest.approx(errors)
    first = aligned(errors, counts, "first_frame")
    assert np.isnan(first[0]) and first[1:] == pytest.approx([0.3, -0.4])
    late = aligned(np.array([np.nan, 1.0, 1.5]), counts, "first_frame")
    assert np.isnan(late[:2]).all() and late[2] == pytest.approx(0.5)
    assert aligned(errors, counts, "constant") == pytest.approx(errors - errors.mean())
    # constants of two elements over two sets are found again, whatever is left is orthogonal to them
    compositions = [np.array([[1.0, 4.0], [2.0, 6.0]]), np.array([[3.0, 8.0], [2.0, 4.0]])]
    exact = [part @ [7.0, -2.0] for part in compositions]
    for left in aligned_per_element(exact, compositions):
        assert left == pytest.approx(0.0, abs=1e-10)


def test_frames_of_other_composition_are_not_aligned_by_the_first():
    with pytest.raises(InputError, match="another composition.*per_element") as caught:
        aligned(np.zeros(3), np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]), "first_frame")
    assert caught.value.frame == 2


def test_errors_of_a_model_by_set_element_and_atom():
    part = LabelledSet("ethanol", "alcohols", frames_of("CH3CH2OH", 12), "first_frame")
    off = np.zeros((12 * 9, 3))
    off[part.atoms.index == 2] = [3.0, 0.0, 0.0]  # the oxygen atom alone
    energies = np.linspace(0.0, 0.9, 12)
    made = assess_models([part], {"a": {"ethanol": shifted(part, energies, off)}}, np.random.default_rng(0))
    (row,) = made.rows
    assert row["energy_rmse_meV_per_atom"] == pytest.approx(1000 * np.sqrt(np.mean(energies[1:] ** 2)) / 9)
    assert row["force_rmse_eV_per_A"] == pytest.approx(3 / np.sqrt(27))
    assert part.atoms.same and row["two_worst_atoms_share"] == pytest.approx(1.0)
    assert row["worst_atoms"].startswith("O2") and row["even_share"] == pytest.approx(2 / 9)
    assert made.warnings and "O2" in made.warnings[0] and "ethanol" in made.warnings[0]
    by_element = {row["element"]: row["force_rmse_eV_per_A"] for row in made.elements}
    assert by_element == pytest.approx({"O": np.sqrt(3), "C": 0.0, "H": 0.0})
    assert made.worst[0]["atom"] == "O2" and made.worst[0]["force_error_eV_per_A"] == pytest.approx(3.0)


def test_a_model_that_is_too_soft_shows_it_in_its_slope():
    part = LabelledSet("ethanol", "alcohols", frames_of("CH3CH2OH", 4), "first_frame")
    soft = ModelPredictions(part.energies[None], 0.8 * part.forces[None])
    (row,) = assess_models([part], {"a": {"ethanol": soft}}, np.random.default_rng(0)).rows
    assert row["force_slope"] == pytest.approx(0.8)
    silent = ModelPredictions(part.energies[None], np.full((1, *part.forces.shape), np.nan))
    (row,) = assess_models([part], {"a": {"ethanol": silent}}, np.random.default_rng(0)).rows
    assert row["force_slope"] is None


def test_seeds_are_averaged_and_families_pooled():
    sets = [LabelledSet(name, "small", frames_of(name, 8), "none") for name in ("H2O", "NH3")]
    energies = {name: np.array([[0.3], [0.6]]) * np.ones(8) for name in ("H2O", "NH3")}
    predictions = {part.name: shifted(part, energies[part.name], np.zeros_like(part.forces)) for part in sets}
    made = assess_models(sets, {"two seeds": predictions}, np.random.default_rng(0))
    water, ammonia = made.rows
    assert water["energy_rmse_meV_per_atom"] == pytest.approx(150.0)
    assert water["energy_rmse_meV_per_atom_by_seed"] == pytest.approx([100.0, 200.0])
    assert ammonia["energy_rmse_meV_per_atom"] == pytest.approx(112.5)
    (family,) = made.families
    assert family["energy_rmse_meV_per_atom"] == pytest.approx(
        np.mean([np.hypot(100, 75), np.hypot(200, 150)]) / 2**0.5
    )


def test_isomers_are_not_the_same_atoms():
    ethanol, ether = (molecule(name) for name in ("CH3CH2OH", "CH3OCH3"))
    ether = ether[[int(np.flatnonzero(ether.numbers == z)[k]) for z, k in ((6, 0), (6, 1), (8, 0))] + list(range(3, 9))]
    ethanol = ethanol[[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert ethanol.numbers.tolist() == ether.numbers.tolist()
    frames = [Frame(Structure.from_ase(a), Labels(0.0)) for a in (ethanol, ether)]
    assert not LabelledSet("C2H6O", "x", Dataset(tuple(frames))).atoms.same
    assert LabelledSet("C2H6O", "x", Dataset(tuple(frames)), same_atoms=True).atoms.same


def test_ranks_are_sure_where_errors_are_far_apart_and_not_where_they_are_equal():
    rng = np.random.default_rng(3)
    drawn = draw_frames(60, rng)
    errors = rng.normal(size=(3, 60)) ** 2 * np.array([[1.0], [1.02], [25.0]])
    named = {
        name: {"set": sampled_rmse(errors[k][None], np.ones(60), drawn, rng)} for k, name in enumerate(("a", "b", "c"))
    }
    rows = rank(named)
    assert rows[-1]["model"] == "c" and rows[-1]["rank_interval"] == [3, 3]
    assert rows[0]["rank_interval"] == rows[1]["rank_interval"] == [1, 2]
    # the mean square of n normal numbers has a relative standard error of √(2/n), its root of half that
    known = named["a"]["set"]
    assert known.standard_error / known.value == pytest.approx(np.sqrt(1 / 120), rel=0.4)


def test_barriers_are_those_of_the_curve():
    known = profile(np.array([-3.0, -2.0, 1.0, -5.0]))
    assert (known.forward_barrier_eV, known.backward_barrier_eV, known.reaction_energy_eV, known.top) == (4, 6, -2, 2)
    assert profile(np.array([0.0, np.nan, np.nan])) is None


def test_overlap_and_distance_of_shifted_gaussians():
    x = np.linspace(-6, 12, 3601)
    a, b = (Spectrum(x, np.exp(-0.5 * (x - center) ** 2) * height) for center, height in ((0.0, 1.0), (1.5, 7.0)))
    from scipy.stats import norm

    assert overlap(a, b) == pytest.approx(2 * norm.cdf(-0.75), abs=1e-4)
    assert overlap(a, a) == pytest.approx(1.0)
    assert wasserstein(a, b) == pytest.approx(1.5, abs=1e-3)
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(x, x, a.values, b.values), rel=1e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published spectra are not in ../shared/data/vibrations")
@pytest.mark.parametrize(("name", "published"), [("naphthalene", 0.93), ("toluene", 0.78), ("malonaldehyde", 0.73)])
def test_overlaps_are_the_published_ones(name, published):
    spectra = [read_spectrum(SHARED / name / f"{method}-total-dos.dat").above(0.0) for method in ("castep", "gomace")]
    assert round(overlap(*spectra), 2) == published


def test_what_is_no_spectrum_is_one_sentence(tmp_path):
    for text, words in (("1 2 3\n4 5 6\n", "two columns"), ("a b\n", "two columns"), ("2 1\n1 1\n", "do not rise"),
                        ("0 1\n1 -1\n", "below zero"), ("0 1\n1 nan\n", "not finite")):  # fmt: skip
        (tmp_path / "x.dat").write_text(text)
        with pytest.raises(InputError, match=words):
            read_spectrum(tmp_path / "x.dat")
    with pytest.raises(InputError, match=r"x\.dat.*cannot be read"):
        (tmp_path / "x.dat").unlink()
        read_spectrum(tmp_path / "x.dat")


def test_novelty_grows_with_the_distance_from_the_training_set():
    training, like, far = (
        frames_of("CH3OH", 20, seed, amplitude) for seed, amplitude in ((0, 0.05), (1, 0.05), (2, 0.3))
    )
    known = Novelty.of(training)
    near, distant = ([known.environments.distances(s) for s in part.structures] for part in (like, far))
    assert sum(map(known.outside, near)) <= 3 and all(map(known.outside, distant))
    novelty = np.concatenate([*near, *distant])
    found_relation = relation(novelty, novelty**2)
    assert found_relation["spearman"] == pytest.approx(1.0)
    points, shares = domain_map([*training.structures, *frames_of("H2O", 20).structures])
    first, second = points[:20, 0], points[20:, 0]
    assert shares[0] > 0.5 and (first.max() < second.min() or second.max() < first.min())
