"""Densities of states along a trajectory: averages, coordination classes, Fermi level and band energy."""

from pathlib import Path

import numpy as np
import pytest
from aluminum_densities import GRID, SMALL, distorted, true_density
from ase.io import write
from typer.testing import CliRunner

import forcewright as fw
from forcewright import analyze
from forcewright.cli import app
from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.properties.dos_model import DosData, DosSettings, fit_dos

CUTOFF = 3.0


@pytest.fixture(name="frames", scope="module")
def _frames():
    rng = np.random.default_rng(4)
    return [distorted(rng, amount=0.25).to_ase() for _ in range(6)]


@pytest.fixture(name="model", scope="module")
def _model():
    rng = np.random.default_rng(3)
    structures = [distorted(rng) for _ in range(20)]
    data = DosData.of(structures, GRID, [true_density(s) for s in structures])
    return fit_dos(data, DosSettings(environment=SMALL, electrons={"Al": 3.0}), rng=rng)


def test_averages_are_those_of_single_structures(frames, model):
    result = analyze.dos(frames, model, cutoff=CUTOFF, errors=True)
    structures = [fw.Structure.from_ase(atoms) for atoms in frames]
    densities = np.array([model.density(s) / 4 for s in structures])
    np.testing.assert_allclose(result.mean, densities.mean(axis=0))
    np.testing.assert_allclose(result.deviation, densities.std(axis=0), atol=1e-9)
    states = [model.electronic_state(s, 0.0) for s in structures]
    np.testing.assert_allclose(result.fermi_level_eV, [s.fermi for s in states])
    np.testing.assert_allclose(result.band_energy_eV, [s.band_energy / 4 for s in states])
    errors = [model.derived_errors(s, state)["fermi"] for s, state in zip(structures, states, strict=True)]
    np.testing.assert_allclose(result.fermi_level_error_eV, errors)
    # classes add up to everything
    whole = sum(result.share[name] * result.by_coordination[name] for name in result.share)
    np.testing.assert_allclose(whole, result.mean)
    assert abs(sum(result.share[name] * result.charges_by_class[name] for name in result.share)) < 1e-9
    level = sum(np.nan_to_num(result.at_fermi_by_class[name]) * result.shares[name] for name in result.shares)
    np.testing.assert_allclose(level, result.at_fermi_level)
    counts = np.concatenate([np.diff(find_neighbors(s, CUTOFF).starts) for s in structures])
    locals_ = np.concatenate([model.local(s) for s in structures])
    name = next(name for name in result.share if name.isdigit())
    inside = counts == int(name)
    assert result.share[name] == pytest.approx(inside.mean())
    np.testing.assert_allclose(result.by_coordination[name], locals_[inside].mean(axis=0))
    assert np.isnan(result.time_ps).all()
    middle = int(np.median(counts))
    fixed = analyze.dos(frames, model, cutoff=CUTOFF, classes=(middle, middle + 1))
    assert set(fixed.share) <= {f"{middle} or fewer", f"{middle + 1} or more"}
    assert fixed.share[f"{middle} or fewer"] == pytest.approx((counts <= middle).mean())
    with pytest.raises(InputError, match="the smaller first"):
        analyze.dos(frames, model, cutoff=CUTOFF, classes=(5, 4))


def test_command_line_writes_table_figure_and_page(frames, model, tmp_path):
    folder = model.save(tmp_path / "study" / "model").parent
    write(tmp_path / "run.extxyz", frames)
    done = CliRunner().invoke(
        app, ["analyze", str(tmp_path / "run.extxyz"), "--what", "dos", "--set", f"dos.model={folder}", "--set",
              f"dos.cutoff={CUTOFF}", "-o", str(tmp_path / "out")], catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "mean Fermi level" in done.output
    header = (tmp_path / "out" / "dos.csv").read_text().splitlines()[0]
    assert header.startswith("energies_eV,mean,deviation,by_coordination_")
    assert (tmp_path / "out" / "dos.png").stat().st_size > 1000
    assert "neighbors and share of atoms" in (tmp_path / "out" / "report.html").read_text()


def test_mistakes_are_told(frames, model, tmp_path):
    with pytest.raises(InputError, match="no model of densities"):
        analyze.dos(frames, tmp_path)
    with pytest.raises(InputError, match="folder of a model"):
        analyze.dos(frames, 3)
    other = [atoms.copy() for atoms in frames]
    for atoms in other:
        atoms.symbols[0] = "Cu"
    with pytest.raises(InputError, match="frame 0.*Cu"):
        analyze.dos(other, model, cutoff=CUTOFF)
    with pytest.raises(InputError, match="dos needs model"):
        fw.analyze(other, "dos")
    assert "dos" in Path(analyze.__file__).read_text()
