"""Pretrained models by name: where packages are absent, with a stand-in; where they are installed, as they are."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.data import write
from forcewright.errors import InputError, MissingExtraError
from forcewright.models import load
from forcewright.models.calculator_potential import NamedCalculator
from forcewright.models.pretrained import PRETRAINED, PretrainedPotential, potential, pretrained_named
from forcewright.recipes.force_fields import force_field
from forcewright.reference import label_all, reference_from
from forcewright.structure import Dataset, Frame, Labels, Structure


def emt(weights: Path):
    assert weights.read_bytes() == b"weights"
    return EMT()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model named toy, which is EMT, in an installed package."""
    package = tmp_path / "toy_weights_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "toy.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = importlib.metadata.version
    monkeypatch.setattr(potential, "version", lambda name: "1.0" if name == package.name else known(name))
    model = replace(
        PRETRAINED["chgnet"], name="toy", package=package.name, weights="toy.pth", make=emt, species=(29, 79),
        sha256=hashlib.sha256(b"weights").hexdigest(), golden={}, needs_cell=False,
    )  # fmt: skip
    monkeypatch.setitem(PRETRAINED, "toy", model)
    monkeypatch.setattr(potential, "_checked", set())
    yield package  # type: ignore[misc]
    sys.modules.pop(package.name, None)


def copper(count: int = 6) -> Dataset:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
        atoms.calc = EMT()
        frames.append(Frame(Structure.from_ase(atoms), Labels(atoms.get_potential_energy() + 7,
                                                              atoms.get_forces(), None)))  # fmt: skip
    return Dataset(tuple(frames), "copper")


def test_everything_takes_the_name(toy: Path, tmp_path: Path) -> None:
    data = copper()
    write(data, tmp_path / "copper.extxyz")
    (first, *_), expected = data.structures, EMT()
    atoms = first.to_ase()
    atoms.calc = expected
    for made in (
        reference_from({"pretrained": "toy"}, tmp_path).label([first])[0],
        force_field({"pretrained": "toy"}, tmp_path).potential.predict([first])[0],
    ):  # type: ignore[union-attr]
        assert made.energy == pytest.approx(atoms.get_potential_energy())  # type: ignore[union-attr]
        np.testing.assert_allclose(made.forces, atoms.get_forces(), atol=1e-12)  # type: ignore[union-attr]
    labelled = label_all(reference_from({"pretrained": "toy"}, tmp_path), data, workers=0).dataset(data)
    assert len(labelled) == len(data) and labelled[0].labels.stress is not None
    assessed = fw.assess({"sets": {"cu": str(tmp_path / "copper.extxyz")}, "models": {"toy": {"pretrained": "toy"}},
                          "alignment": "constant", "workers": 0, "output": str(tmp_path / "assessed")})  # fmt: skip
    assert assessed.summary["errors"][0]["force_rmse_eV_per_A"] == pytest.approx(0, abs=1e-6)
    saved = PretrainedPotential("toy").save(tmp_path / "saved")
    assert sorted(file.name for file in saved.iterdir()) == ["potential.json"]  # no weights
    again = load(saved)
    assert isinstance(again, PretrainedPotential) and again.predict([first])[0].energy == made.energy  # type: ignore[union-attr]


def test_what_labels_differ_by_is_learned_on_top_of_it(toy: Path, tmp_path: Path) -> None:
    data = copper(8)
    model = {"kind": "ace", "functions": 12, "rcut": 4.0, "radial": "ChebExpCos"}
    fixed = {"weights": {"energy": 100, "force": 1}, "ridge": 1e-8, "stability": "off", "validation": 2}
    fitted = fw.fit(data, model=model, baseline={"pretrained": "toy"}, **fixed)  # type: ignore[arg-type]
    for column in ("force_rmse_eV_per_A", "energy_rmse_meV_per_atom"):  # a constant is all that they differ by
        assert fitted.validation.to_rows()[-1][column] < 1e-6
    folder = fitted.potential.save(tmp_path / "delta")
    assert (folder / "baseline" / "potential.json").is_file()
    again = load(folder)
    np.testing.assert_allclose(again.predict([data[0].structure])[0].forces,
                               fitted.potential.predict([data[0].structure])[0].forces)  # fmt: skip
    named = fw.fit(data, model=model, baseline={"ase": "ase.calculators.emt:EMT"}, **fixed)  # type: ignore[arg-type]
    np.testing.assert_allclose(named.potential.predict([data[0].structure])[0].forces,
                               fitted.potential.predict([data[0].structure])[0].forces, atol=1e-9)  # fmt: skip
    assert load(named.potential.save(tmp_path / "named")).predict([data[0].structure])[0].energy


def test_other_weights_and_other_numbers_are_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(PRETRAINED["toy"], golden={"Si8": (-1.0, 0.0)})
    monkeypatch.setitem(PRETRAINED, "toy", replace(wrong, make=lambda weights: EMT()))
    monkeypatch.setattr(potential, "golden_structures", lambda: {"Si8": bulk("Cu", cubic=True)})
    with pytest.raises(InputError, match="reads the weights in another way"):
        PretrainedPotential("toy").calculator()
    (toy / "toy.pth").write_bytes(b"a stranger's")
    with pytest.raises(InputError, match="are not the weights of toy"):
        PretrainedPotential("toy")
    (toy / "toy.pth").unlink()
    with pytest.raises(InputError, match="weights are not in the installed"):
        PretrainedPotential("toy")


def test_what_is_missing_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(potential, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"forcewright\[sevennet\]\""):
        fw.label({"reference": {"pretrained": "sevennet-0"}, "structures": copper(1)})
    with pytest.raises(MissingExtraError, match="chgnet"):
        force_field({"pretrained": "chgnet"}, tmp_path)
    with pytest.raises(InputError, match=r"reference\.pretrained.*did you mean 'chgnet'"):
        reference_from({"pretrained": "chgnett"}, tmp_path)
    with pytest.raises(InputError, match=r"potential\.pretrained"):
        force_field({"pretrained": "mace"}, tmp_path)
    with pytest.raises(Exception, match="give one of"):
        reference_from({"pretrained": "chgnet", "xtb": "GFN1-xTB"}, tmp_path)


def test_a_calculator_that_could_do_anything_needs_consent(tmp_path: Path) -> None:
    made = NamedCalculator("some_package:Calculator", {"path": "x"}).save(tmp_path / "saved")
    with pytest.raises(InputError, match="FORCEWRIGHT_ALLOW_COMMANDS"):
        load(made)
    with pytest.raises(InputError, match=r"baseline\.ase.*FORCEWRIGHT_ALLOW_COMMANDS"):
        fw.fit(copper(4), model={"kind": "ace", "functions": 5}, baseline={"ase": "some_package:Calculator"})


def test_every_model_says_what_it_is() -> None:
    for name, model in PRETRAINED.items():
        assert pretrained_named(name) is model and len(model.sha256) == 64
        assert model.license and "MPtrj" in model.trained_on and "20" in model.citation and model.golden
        assert 14 in model.species and 92 in model.species and 86 not in model.species


@pytest.mark.parametrize("name", PRETRAINED)
def test_an_installed_model_gives_its_golden_numbers_and_forces_that_are_derivatives(name: str) -> None:
    if find_spec(PRETRAINED[name].package) is None:
        pytest.skip(f"the extra {PRETRAINED[name].extra} is not installed")
    model = PretrainedPotential(name)  # making its calculator compares the golden numbers
    atoms = potential.golden_structures()["Na4Cl4"]
    step = np.zeros((8, 3))
    step[0, 0] = 0.01
    ahead, behind, here = (atoms.copy() for _ in range(3))
    ahead.positions += step
    behind.positions -= step
    after, before, now = model.predict([ahead, behind, here])
    assert now.forces[0, 0] == pytest.approx(-(after.energy - before.energy) / 0.02, abs=0.01)  # type: ignore[index]
