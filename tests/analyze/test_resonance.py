"""NMR tensors along a trajectory: the average of tensors, not of their eigenvalues."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

import forcewright.analyze.resonance as resonance
from forcewright import analyze
from forcewright.data.properties import Target
from forcewright.errors import InputError
from forcewright.properties.nuclear_resonance import MHZ_PER_AU_BARN
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot


def model(name, *principal, elements=(14,), **changes):
    """A tensor that has its axes along the bond to the first atom, as a model."""

    def predict(structure):
        made = np.full((len(structure), 9), np.nan)
        axis = structure.positions[1] - structure.positions[0]
        turn = Rotation.align_vectors([axis], [[0, 0, 1.0]])[0].as_matrix()
        for z in elements:
            made[structure.numbers == z] = (turn @ np.diag(principal) @ turn.T).ravel()
        return made

    return SimpleNamespace(target=Target(name=name, **changes), species=(8, 13, 14), predict=predict)


def hopping(count=400):
    """Frames in which a bond points along x, y and z in turn, or with an angle to z that is drawn."""
    for k in range(count):
        axis = np.eye(3)[k % 3]
        yield Snapshot(Structure.from_ase(Atoms("OSi", [[0, 0, 0], 1.6 * axis])), time=float(k))


def test_jumps_between_three_axes_average_the_anisotropy_away():
    made = analyze.nmr(hopping(399), model=model("shielding", 400, 400, 490), reference_ppm=330.0)
    assert made.atom.tolist() == [1] and made.elements == ("Si",) and made.frames == 399
    assert made.averaged["shift"] == pytest.approx([330 - 430])
    assert made.averaged["span"] == pytest.approx([0], abs=1e-9)
    assert made.instantaneous["span"] == pytest.approx([90])
    assert made.instantaneous["anisotropy"] == pytest.approx([90]) and made.spread == pytest.approx([0], abs=1e-9)
    assert made.averaged_tensors["span_ppm"] == pytest.approx(0, abs=1e-9) and made.single_frames[
        "span_ppm"
    ] == pytest.approx(90)


def test_two_site_exchange_leaves_an_axial_tensor():
    frames = [frame for k, frame in enumerate(hopping(300)) if k % 3 < 2]  # x and y alone
    made = analyze.nmr(frames, model=model("efg", -0.1, -0.1, 0.2, elements=(14,)), isotope="27Al")
    # (-0.1 + 0.2)/2 twice, and -0.1: the unique axis is z, half as large and of the other sign
    assert made.averaged["coupling_MHz"] == pytest.approx([MHZ_PER_AU_BARN * 0.1466 * -0.1])
    assert made.averaged["asymmetry"] == pytest.approx([0], abs=1e-9)
    assert made.instantaneous["coupling_MHz"] == pytest.approx([MHZ_PER_AU_BARN * 0.1466 * 0.2])
    assert made.averaged_tensors["coupling_MHz"] == pytest.approx(MHZ_PER_AU_BARN * 0.1466 * 0.1)


def test_errors_are_those_of_blocks():
    rng = np.random.default_rng(0)
    values = iter(rng.normal(430, 3, 512))
    noisy = SimpleNamespace(target=Target(name="shielding"), species=(8, 14),
                            predict=lambda s: np.array([[np.nan] * 9, next(values) * np.eye(3).ravel()]))  # fmt: skip
    made = analyze.nmr(hopping(512), model=noisy)
    assert made.error == pytest.approx([3 / np.sqrt(512)], rel=0.6) and made.spread == pytest.approx([3], rel=0.1)
    inside = np.trapezoid(made.density["Si"], made.values)
    assert inside == pytest.approx(1, abs=0.02)


def test_what_has_no_tensor_is_refused():
    with pytest.raises(InputError, match="no atom of O in these frames.*elements with tensors are Si"):
        analyze.nmr(hopping(3), model=model("shielding", 1, 2, 3), element="O")
    with pytest.raises(InputError, match="no quadrupole moment of Si"):
        analyze.nmr(hopping(3), model=model("efg", -1, -1, 2))
    with pytest.raises(InputError, match="reference_ppm"):
        analyze.nmr(hopping(3), model=model("efg", -1, -1, 2), reference_ppm=1.0)
    with pytest.raises(InputError, match="frame 0.*holds N, but the model of shielding knows only O, Al, Si"):
        analyze.nmr([Atoms("NO", [[0, 0, 0], [0, 0, 1]])], model=model("shielding", 1, 2, 3))
    with pytest.raises(InputError, match="predicts dipole.*shielding or electric field gradients"):
        analyze.nmr(hopping(3), model=model("dipole", 1, 2, 3))


def test_spectra_of_models_beside_one_another(tmp_path):
    pytest.importorskip("mrsimulator", reason="mrsimulator, which spectra of powders need, is not installed")
    models = {"one way": model("shielding", 400, 400, 490), "another-way": model("shielding", 410, 410, 470)}
    options = {"isotope": "29Si", "reference_ppm": 330.0, "model": models}
    fast = analyze.nmr_spectrum(hopping(30), **options)
    assert list(fast.intensity) == ["one way", "another-way"] and fast.nuclei == 1 and fast.frames == 30
    assert fast.center_ppm["one way"] == pytest.approx(-100, abs=0.1)
    spread = {}
    for motion in ("fast", "frozen"):
        made = analyze.nmr_spectrum(hopping(30), motion=motion, **options)
        line = made.intensity["one way"]
        spread[motion] = np.trapezoid(line * (made.shift_ppm + 100) ** 2, made.shift_ppm)
    assert spread["frozen"] == pytest.approx(2 / 15 * (30**2 + 30**2 + 60**2), rel=0.03) and spread["fast"] < 1
    written = analyze(
        list(hopping(6)), ["nmr_spectrum"], tmp_path, options={"nmr_spectrum": {**options, "map": "anisotropy"}}
    )
    assert written["nmr_spectrum"].maps["one way"].shape == (128, 256)
    assert (tmp_path / "nmr_spectrum.png").exists()


def test_spectra_that_cannot_be_are_refused(monkeypatch):
    monkeypatch.setattr(resonance, "require_mrsimulator", lambda: None)
    shielding = model("shielding", 400, 400, 490)
    with pytest.raises(InputError, match="is missing; give a model of shieldings"):
        analyze.nmr_spectrum(hopping(3), isotope="29Si")
    with pytest.raises(InputError, match="same names"):
        analyze.nmr_spectrum(hopping(3), isotope="29Si", model={"a": shielding},
                             gradients={"b": model("efg", -1, -1, 2), "c": model("efg", -1, -1, 2)})  # fmt: skip
    with pytest.raises(InputError, match="no atom of Al"):
        analyze.nmr_spectrum(hopping(3), isotope="27Al", model=shielding)
    with pytest.raises(InputError, match="fast or frozen"):
        analyze.nmr_spectrum(hopping(3), isotope="29Si", model=shielding, motion="slow")
