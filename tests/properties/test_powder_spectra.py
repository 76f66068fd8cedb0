"""Powder spectra: moments of the tensors, sums over directions, textbook shifts; mrsimulator does the work."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import forcewright.properties.powder_spectra as powder
from forcewright.errors import InputError, MissingExtraError
from forcewright.properties.nuclear_resonance import describe_field_gradient
from forcewright.properties.powder_spectra import Sites, mixed, powder_spectra

needs_mrsimulator = pytest.mark.skipif(
    powder.find_spec("mrsimulator") is None, reason="mrsimulator, which spectra of powders need, is not installed"
)


def turned(*principal, seed=0):
    turn = Rotation.random(random_state=seed).as_matrix()
    return turn @ np.diag(principal) @ turn.T


def spectrum(sites, **options):
    return powder_spectra({"": sites}, **options)[""]


@needs_mrsimulator
def test_moments_of_a_static_pattern_are_those_of_the_tensor():
    tensor = turned(410.0, 440.0, 500.0)
    made = spectrum(Sites("29Si", [tensor], reference_ppm=340.0), linewidth_ppm=0.5)
    assert np.trapezoid(made.intensity, made.shift_ppm) == pytest.approx(1)
    assert made.center_ppm == pytest.approx(340 - 450, abs=0.3)
    rest = tensor - 450 * np.eye(3)
    variance = np.trapezoid(made.intensity * (made.shift_ppm - made.center_ppm) ** 2, made.shift_ppm)
    assert variance == pytest.approx(2 / 15 * np.sum(rest**2), rel=0.02)  # of n·T n over the sphere
    assert made.shift_ppm[made.intensity.argmax()] == pytest.approx(340 - 440, abs=1.0)  # the step at σ_22
    bright = made.shift_ppm[made.intensity > 0.02 * made.intensity.max()]
    assert bright.min() == pytest.approx(340 - 500, abs=1.5) and bright.max() == pytest.approx(340 - 410, abs=1.5)


@needs_mrsimulator
def test_spinning_leaves_the_isotropic_shift_and_sidebands_at_its_frequency():
    sites = Sites("29Si", [turned(410.0, 440.0, 500.0)], reference_ppm=340.0)
    fast = spectrum(sites, spinning_kHz=np.inf, range_ppm=(-200, 0), points=2048)
    assert fast.shift_ppm[fast.intensity.argmax()] == pytest.approx(-110, abs=0.2)
    assert np.trapezoid(np.where(np.abs(fast.shift_ppm + 110) < 1.5, fast.intensity, 0), fast.shift_ppm) > 0.99
    slow = spectrum(sites, spinning_kHz=1.5, range_ppm=(-200, 0), points=2048)
    rate = 1500 / 79.4  # ppm at 9.4 T, where silicon has 79.4 to 79.6 MHz
    for order in (-1, 0, 1, 2):
        near = np.abs(slow.shift_ppm - (-110 + order * rate)) < 0.5
        assert slow.intensity[near].max() > 0.02 * slow.intensity.max(), order
        beside = np.abs(slow.shift_ppm - (-110 + (order + 0.5) * rate)) < 3
        assert slow.intensity[beside].max() < 1e-3 * slow.intensity.max()


@needs_mrsimulator
def test_both_tensors_of_a_nucleus_turn_together():
    """Deuterium: shielding and first-order splitting, summed over directions here."""
    shielding, gradient = turned(-40.0, -10.0, 50.0, seed=1), turned(-2e-4, -1e-4, 3e-4, seed=2)
    made = spectrum(Sites("2H", [shielding], [gradient]), range_ppm=(-130, 130), points=128, linewidth_ppm=4)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200_000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    shift = -np.einsum("ni,ij,nj->n", directions, shielding, directions)
    coupling = describe_field_gradient([gradient], "2H")
    along = np.einsum("ni,ij,nj->n", directions, gradient, directions) / coupling.largest[0]
    split = 0.75 * 1e6 * coupling.coupling_MHz[0] * along / (6.536 * 9.4)  # ± 3/4 C_Q, in ppm
    step = made.shift_ppm[1] - made.shift_ppm[0]
    edges = np.append(made.shift_ppm - step / 2, made.shift_ppm[-1] + step / 2)
    counted = np.histogram(np.concatenate([shift + split, shift - split]), edges)[0]
    smooth = np.convolve(counted, np.exp(-0.5 * (np.arange(-20, 21) * step * 2.3548 / 4) ** 2), mode="same")
    assert np.abs(smooth / smooth.sum() - made.intensity / made.intensity.sum()).sum() < 0.03


@needs_mrsimulator
@pytest.mark.parametrize(("isotope", "spin", "rate", "tensor"), [
    ("27Al", 2.5, 11.103, (-0.1, -0.2, 0.3)), ("23Na", 1.5, 11.262, (0.03, 0.09, -0.12)),
    ("17O", 2.5, 5.774, (0.0, 0.5, -0.5)),
])  # fmt: skip
def test_quadrupolar_shifts_under_spinning_are_the_textbook_ones(isotope, spin, rate, tensor):
    """δ_QIS = -3/40 (C_Q/ν_L)² (1 + η²/3) (I(I+1) - 3/4)/(I² (2I-1)²) (Samoson 1985)."""
    gradient, shielding = turned(*tensor), 25.0 * np.eye(3)
    of = describe_field_gradient([gradient], isotope)
    made = spectrum(Sites(isotope, [shielding], [gradient]), spinning_kHz=np.inf, field_T=14.1)
    ratio = 1e3 * of.coupling_MHz[0] / (rate * 14.1)
    width = (spin * (spin + 1) - 0.75) / (spin * (2 * spin - 1)) ** 2
    shift = -3 / 40 * ratio**2 * (1 + of.asymmetry[0] ** 2 / 3) * width
    assert made.center_ppm + 25 == pytest.approx(shift, rel=0.02)
    chart = spectrum(Sites(isotope, [shielding], [gradient]), map="3qmas", field_T=14.1)
    across = chart.map.sum(axis=1)
    assert across.max() / across.sum() > 0.1  # one line in the isotropic dimension
    step = chart.second_ppm[1] - chart.second_ppm[0]
    assert chart.second_ppm[across.argmax()] == pytest.approx(-25 - 10 / 17 * shift, abs=step)
    static = spectrum(Sites(isotope, [shielding], [gradient]), field_T=14.1)
    for part in (static, made):  # all of it is within the default range, which is not much wider
        assert part.intensity[[0, -1]].max() < 1e-3 * part.intensity.max()
        assert np.ptp(part.shift_ppm[part.intensity > 1e-3 * part.intensity.max()]) > 0.4 * np.ptp(part.shift_ppm)


@needs_mrsimulator
def test_a_map_has_the_isotropic_shift_along_one_axis_and_the_static_pattern_along_the_other():
    tensors = [turned(410.0, 410.0, 470.0), turned(450.0, 450.0, 450.0)]
    made = spectrum(Sites("29Si", tensors, reference_ppm=330.0), map="anisotropy")
    assert made.map.shape == (len(made.second_ppm), len(made.shift_ppm))
    pattern, line = (made.map[:, np.abs(made.shift_ppm - at).argmin()] for at in (-100.0, -120.0))
    near = made.second_ppm[pattern > 0.02 * pattern.max()]
    assert near.min() == pytest.approx(-40, abs=2) and near.max() == pytest.approx(20, abs=2)  # 430 - 470, 430 - 410
    assert np.sum(pattern * made.second_ppm) / pattern.sum() == pytest.approx(0, abs=0.5)
    assert np.ptp(made.second_ppm[line > 0.02 * line.max()]) < 4


@needs_mrsimulator
def test_mixtures_and_sets_side_by_side_share_their_shifts():
    sets = {"alpha": Sites("29Si", [440.0 * np.eye(3)]), "beta": Sites("29Si", [445.0 * np.eye(3)])}
    made = powder_spectra(sets, spinning_kHz=np.inf)
    both = mixed([made["alpha"], made["beta"]], [50, 50])
    assert both.center_ppm == pytest.approx(-442.5, abs=0.05)
    assert both.intensity == pytest.approx((made["alpha"].intensity + made["beta"].intensity) / 2)
    other = spectrum(sets["alpha"], range_ppm=(-500, 0))
    with pytest.raises(InputError, match="not over the same shifts"):
        mixed([made["alpha"], other], [1, 1])
    with pytest.raises(InputError, match="shares"):
        mixed([made["alpha"], made["beta"]], [1])


@needs_mrsimulator
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "cosy"}, "none, anisotropy or 3qmas"), ({"map": "3qmas"}, "half-integer spin above 1/2"),
        ({"field_T": -1.0}, "field_T"), ({"spinning_kHz": -1.0}, "spinning_kHz"), ({"range_ppm": (5, 1)}, "range_ppm"),
        ({"points": 3}, "points"), ({"range_ppm": (1e4, 2e4)}, "no intensity"),
    ],
)  # fmt: skip
def test_what_makes_no_spectrum_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        spectrum(Sites("29Si", [440.0 * np.eye(3)]), **options)


@needs_mrsimulator
def test_isotopes_and_tensors_are_checked():
    with pytest.raises(InputError, match="'29Xx' is not an isotope"):
        spectrum(Sites("29Xx", [440.0 * np.eye(3)]))
    with pytest.raises(InputError, match="29Si has the spin 1/2"):
        spectrum(Sites("29Si", None, [turned(-1, -1, 2.0)]))
    with pytest.raises(InputError, match="of one isotope"):
        powder_spectra({"a": Sites("29Si", [np.eye(3)]), "b": Sites("17O", [np.eye(3)])})


def test_sites_are_checked():
    with pytest.raises(InputError, match="neither"):
        Sites("29Si")
    with pytest.raises(InputError, match="finite"):
        Sites("29Si", [np.full((3, 3), np.nan)])
    with pytest.raises(InputError, match="are 0"):
        Sites("29Si", np.zeros((0, 9)))
    with pytest.raises(InputError, match="those of 2 nuclei, the shieldings of 1"):
        Sites("27Al", [np.eye(3)], [np.eye(3), np.eye(3)])


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(powder, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mrsimulator.*forcewright\[nmr\]"):
        powder_spectra({"": Sites("29Si", [np.eye(3)])})
