"""assess: predictions in files and computed ones on the same sets, kept by content; what is wrong is one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from command_line import run_here

import forcewright as fw
from forcewright.errors import InputError
from forcewright.recipes.assess_config import AssessConfig
from forcewright.recipes.run_folder import read_config


def frames(name: str, count: int, seed: int) -> list[Atoms]:
    """Rattled molecules with labels by effective medium theory, and two stored models of which b has two seeds."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info |= {"dft_energy": energy, "a_energy": energy + 9.0 + 0.1 * rng.normal()}
        atoms.arrays |= {"dft_forces": forces, "a_forces": forces + 0.2 * rng.normal(size=forces.shape)}
        for s in (1, 2):
            atoms.info[f"b{s}"] = energy + s
            atoms.arrays[f"bf{s}"] = forces * (1 + 0.1 * s)
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assess")
    for seed, name in enumerate(("N2", "H2O", "NH3")):
        ase.io.write(folder / f"{name}.xyz", frames(name, 10, seed), format="extxyz")
    x = np.linspace(0, 10, 200)
    for name, center in (("right", 4.0), ("wrong", 4.5)):
        np.savetxt(folder / f"{name}.dat", np.column_stack([x, np.exp(-((x - center) ** 2))]))
    return folder


CONFIG = """
reference: DFT
labels: {energy: dft_energy, forces: dft_forces}
sets:
  N2: {files: N2.xyz, path: true, alignment: constant}
  water: {files: H2O.xyz, family: hydrides}
  ammonia: {files: [NH3.xyz], family: hydrides}
models:
  a: {energy: a_energy, forces: a_forces}
  b: {energy: "b{seed}", forces: "bf{seed}", seeds: [1, 2], sets: [water, ammonia]}
  EMT: {ase: "ase.calculators.emt:EMT"}
novelty: H2O.xyz
spectra: {water: {reference: right.dat, models: {a: wrong.dat}}}
vibrations: {N2 molecule: {structure: {molecule: N2}, reference: {ase: "ase.calculators.emt:EMT"}}}
workers: 0
output: out
"""


@pytest.mark.drawn
def test_everything_is_compared_and_nothing_computed_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "assess.yaml").write_text(CONFIG)
    done = fw.assess(folder / "assess.yaml")
    summary = json.loads((folder / "out" / "result.json").read_text())
    rows = {(row["model"], row["set"]): row for row in summary["errors"]}
    assert len(rows) == 3 + 2 + 3 and summary["written_by"] == "assess" and len(summary["data_hashes"]) == 5
    for name in ("N2", "water", "ammonia"):  # the labels' own method is right
        assert rows["EMT", name]["energy_rmse_meV_per_atom"] == pytest.approx(0.0, abs=1e-4)
        assert rows["EMT", name]["force_rmse_eV_per_A"] == pytest.approx(0.0, abs=1e-6)
        assert rows["a", name]["force_rmse_eV_per_A"] == pytest.approx(0.2, rel=0.25)
    # b is off by a constant, which goes, and its forces by a share of them
    assert rows["b", "water"]["energy_rmse_meV_per_atom"] == pytest.approx(0.0, abs=1e-4)
    by_seed = rows["b", "water"]["force_rmse_eV_per_A_by_seed"]
    assert by_seed[1] == pytest.approx(2 * by_seed[0])
    assert [row["model"] for row in summary["rankings"]["hydrides"]["forces"]][0] == "EMT"
    assert summary["profiles"]["N2"]["DFT"]["forward_barrier_eV"] == pytest.approx(
        summary["profiles"]["N2"]["EMT"]["forward_barrier_eV"]
    )
    assert 0 < summary["spectra"][0]["overlap"] < 1
    assert summary["spectra"][0]["wasserstein_THz"] == pytest.approx(0.5, abs=1e-3)
    vibrations = summary["spectra"][1]  # of a method against itself
    assert vibrations["overlap"] == pytest.approx(1.0) and vibrations["matched_modes_rms_THz"] == pytest.approx(0.0)
    assert summary["modes"][0]["reference_per_cm"] == pytest.approx(1231.3, abs=0.5)  # as ASE's Vibrations has it
    sets = summary["novelty"]["sets"]
    assert sets["water"]["median"] < 1e-6 < 0.5 < sets["ammonia"]["frames_outside"] == 10
    with open(folder / "out" / "atoms.csv") as file:
        atoms = list(csv.DictReader(file))
    assert len(atoms) == 10 * (2 + 3 + 4) and {"a", "b", "EMT", "novelty"} <= set(atoms[0])
    page = (folder / "out" / "report.html").read_text()
    assert "Errors by element and atom" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert "water" in str(done) and len(done.to_rows()) == len(rows)

    monkeypatch.setattr(EMT, "calculate", None)  # a second run computes nothing
    assert fw.assess(folder / "assess.yaml").summary["errors"] == done.summary["errors"]


def wrong(folder: Path, **changes: object) -> str:
    content: dict[str, object] = {
        "labels": {"energy": "dft_energy", "forces": "dft_forces"}, "sets": {"water": "H2O.xyz"},
        "models": {"a": {"energy": "a_energy", "forces": "a_forces"}}, "output": "wrong", "workers": 0,
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        fw.assess({**content, **changes})
    return str(caught.value)


def test_mistakes_are_sentences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "no frame of water has x, y" in wrong(folder, models={"a": {"energy": "x", "forces": "y"}})
    assert "{seed}" in wrong(folder, models={"a": {"energy": "a", "seeds": [1]}})
    assert "no set 'ice'" in wrong(folder, models={"a": {"energy": "a_energy", "sets": ["ice"]}})
    assert "xtb, lammps, ase and pretrained" in wrong(folder, models={"a": {}})
    assert "did you mean 'alignment'" in wrong(folder, alignement="none")
    assert "does not exist" in wrong(folder, sets={"water": "steam.xyz"})
    assert "did you mean 'energy'" in wrong(folder, models={"a": {"energi": "a_energy"}})
    assert "models.a" in wrong(folder, models={"a": "no-potential"})
    assert "'a' that computes forces" in wrong(
        folder,
        vibrations={"x": {"structure": {"molecule": "N2"}, "reference": {"xtb": "GFN2-xTB"}, "models": ["a"]}},
    )
    assert "no sets and no spectra" in wrong(folder, sets={}, models={})
    other = frames("H2O", 10, 5)
    ase.io.write("other.xyz", other, format="extxyz")
    stored = {"energy": "a_energy", "files": {"water": "other.xyz"}}
    assert "other.xyz" in (told_of := wrong(folder, models={"a": stored})) and "another structure" in told_of
    ase.io.write("short.xyz", other[:9], format="extxyz")
    assert "holds 9 frames" in wrong(folder, models={"a": {**stored, "files": {"water": "short.xyz"}}})
    same = frames("H2O", 10, 1)
    del same[3].info["a_energy"]
    ase.io.write("gap.xyz", same, format="extxyz")
    text = wrong(folder, models={"a": {**stored, "files": {"water": "gap.xyz"}}})
    assert "gap.xyz" in text and "frame 3" in text and "a_energy" in text
    ase.io.write("mixed.xyz", [*frames("H2O", 3, 1), *frames("NH3", 3, 1)], format="extxyz")
    text = wrong(folder, sets={"mixed": "mixed.xyz"})
    assert "mixed.xyz" in text and "frame 3" in text and "per_element" in text


def test_a_model_that_fails_costs_the_others_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = {
        "labels": {"energy": "dft_energy", "forces": "dft_forces"}, "sets": {"water": "H2O.xyz"},
        "models": {"a": {"energy": "a_energy"}, "LJ": {"ase": "ase.calculators.lj:NoSuch"}}, "output": "some",
        "workers": 0,
    }  # fmt: skip
    done = fw.assess(config)
    assert [row["model"] for row in done.summary["errors"]] == ["a"]
    assert "NoSuch" in done.summary["failures"]["LJ"]
    assert done.summary["errors"][0]["force_rmse_eV_per_A"] is None


def test_on_the_command_line(folder: Path) -> None:
    (folder / "spectra.yaml").write_text(
        "spectra: {water: {reference: right.dat, models: {a: wrong.dat}}}\noutput: spectra\n"
    )
    ended = run_here("assess", "spectra.yaml", cwd=folder)
    assert ended.returncode == 0 and "overlap" in ended.stdout, ended.stderr
    ended = run_here("assess", "nothing.yaml", cwd=folder)
    assert ended.returncode == 1 and "nothing.yaml" in ended.stderr


EXAMPLE = Path(__file__).parents[2] / "examples" / "zero-shot"
PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "zero-shot" / "qm7x_C6H12O.extxyz.gz"


def test_the_example_is_valid() -> None:
    settings = read_config(AssessConfig, EXAMPLE / "assess.yaml").settings
    assert len(settings.sets) == 15 and settings.models["SchNet"].keys()[3]["energy"] == "energy_schnet_4"


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published predictions are not in ../shared/data/zero-shot")
def test_published_errors_are_found_again(tmp_path: Path) -> None:
    models = {
        name: {"energy": f"energy_{key}_{{seed}}", "forces": f"forces_{key}_{{seed}}", "seeds": [1, 2, 3, 4]}
        for name, key in (("L2", "gomace_l2"), ("SchNet", "schnet"))
    }
    done = fw.assess(
        {
            "labels": {"energy": "castep_energy", "forces": "castep_forces"}, "sets": {"C6H12O": str(PUBLISHED)},
            "models": models, "output": str(tmp_path / "out"),
        }
    )  # fmt: skip
    errors = {row["model"]: (row["energy_rmse_meV_per_atom"], row["force_rmse_eV_per_A"]) for row in done.to_rows()}
    # arXiv:2502.21317: 16 and 148 meV/atom, 0.33 and 1.85 eV/Å
    assert [round(value) for value, _ in errors.values()] == [16, 148]
    assert [round(value, 2) for _, value in errors.values()] == [0.33, 1.85]
