"""Make the frames of this example: hydrogen in diamond, labelled with GFN1-xTB.

Run ``python make_frames.py`` (needs the extra ``xtb``). It writes ``train.extxyz``, ``test.extxyz`` and
``dataset.json`` beside itself and keeps finished batches in a scratch folder, from which it resumes.

Two cells of 2x2x2 conventional diamond cells:

* ``hv``: C62H. Two neighboring carbon atoms are taken out, one of the two sites is filled by hydrogen.
* ``h2i``: C64H2. Two interstitial hydrogen atoms as the H2* pair of diamond: one in the center of a stretched C-C
  bond, one antibonding behind the second carbon atom of the same bond (Goss et al., Phys. Rev. B 72, 035214, 2005).

GFN1-xTB: Grimme, Bannwarth and Shushkov, J. Chem. Theory Comput. 13, 1989 (2017), through tblite: a closed-shell
or fractionally occupied Gamma-point calculation with an electronic temperature of 300 K. Its energies are free
energies, which is what its forces and stress are derivatives of.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from rich.console import Console
from rich.progress import Progress
from tblite.ase import TBLite

HERE = Path(__file__).parent
METHOD = "GFN1-xTB"
ACCURACY = 0.1  # of tblite: SCF thresholds ten times tighter than its default
LATTICE_CONSTANT = 3.549  # Å, diamond in GFN1-xTB
SEED = 20240607
TEST_SHARE = 0.12  # of the frames that are not from MD
TEST_BLOCK = 8  # last frames of each MD trajectory


@dataclass(frozen=True)
class Batch:
    """A set of frames made by one recipe from one relaxed cell."""

    cell: str
    recipe: str  # a key of RECIPES
    frames: int
    temperature: float = 0.0  # K, MD only
    start_steps: int = 0  # MD steps of 1 fs before the first frame
    stride: int = 1  # MD steps between frames

    @property
    def group(self) -> str:
        return f"{self.cell}_{self.recipe}" + (f"_{self.temperature:.0f}K" if self.temperature else "")

    @property
    def evaluations(self) -> int:
        return self.start_steps + self.frames * self.stride if self.recipe == "md" else self.frames

    @property
    def key(self) -> str:
        """Hash of everything that decides the content of this batch."""
        recipe = json.dumps([METHOD, ACCURACY, LATTICE_CONSTANT, SEED, asdict(self)])
        return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def plan() -> list[Batch]:
    batches = []
    for cell in ("hv", "h2i"):
        batches += [Batch(cell, "eos", 13), Batch(cell, "strain", 36), Batch(cell, "rattle", 40)]
        batches += [Batch(cell, "md", 34, temperature, 50, 6) for temperature in (500.0, 800.0)]
    return batches


def build(cell: str) -> Atoms:
    """Return an ideal start: the defect placed, nothing relaxed."""
    atoms = bulk("C", "diamond", a=LATTICE_CONSTANT, cubic=True).repeat(2)
    first = 0
    distances = atoms.get_distances(first, range(len(atoms)), mic=True)
    second = int(np.argsort(distances)[1])
    if cell == "hv":
        atoms.symbols[first] = "H"
        del atoms[second]
        return atoms
    axis = atoms.get_distance(first, second, mic=True, vector=True)
    axis /= np.linalg.norm(axis)
    atoms.positions[first] -= 0.25 * axis
    atoms.positions[second] += 0.45 * axis
    atoms += Atoms("H", positions=[atoms.positions[first] + 1.1 * axis])  # bond-centered
    atoms += Atoms("H", positions=[atoms.positions[second] + 1.1 * axis])  # antibonding
    return atoms


def calculator() -> TBLite:
    return TBLite(method=METHOD, accuracy=ACCURACY, verbosity=0)


def label(atoms: Atoms, group: str, **info: object) -> Atoms:
    """Return bare atoms with the calculator's energy, forces and stress as REF_ labels; compute them if need be."""
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        raise RuntimeError("the calculation gave numbers that are not finite")
    labelled = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    labelled.info = {"config_type": group, **info, "REF_energy": float(energy), "REF_stress": stress.ravel()}
    labelled.arrays["REF_forces"] = forces
    return labelled


# ---------------------------------------------------------------------------------------------------- recipes
# Each yields unlabelled atoms with a calculator, one frame at a time.


def scan_volume(relaxed: Atoms, batch: Batch, rng: np.random.Generator) -> Iterator[Atoms]:
    for factor in np.linspace(0.88, 1.12, batch.frames):
        yield strained(relaxed, np.eye(3) * (factor ** (1 / 3) - 1))


def strain(relaxed: Atoms, batch: Batch, rng: np.random.Generator) -> Iterator[Atoms]:
    """A third isotropic, -6 to 6 %; a third along one axis; a third general with shear; all rattled by 0.02 Å."""
    for index in range(batch.frames):
        tensor = rng.uniform(-0.04, 0.04, (3, 3))
        if index % 3 == 0:
            tensor = np.eye(3) * rng.uniform(-0.06, 0.06)
        elif index % 3 == 1:
            tensor = np.diag(np.roll([rng.uniform(-0.06, 0.06), 0, 0], rng.integers(3)))
        yield rattled(strained(relaxed, (tensor + tensor.T) / 2), 0.02, rng)


def rattle(relaxed: Atoms, batch: Batch, rng: np.random.Generator) -> Iterator[Atoms]:
    for width in np.linspace(0.02, 0.12, batch.frames):
        yield rattled(relaxed, width, rng)


def run_md(relaxed: Atoms, batch: Batch, rng: np.random.Generator) -> Iterator[Atoms]:
    """Langevin dynamics, 1 fs a step; starts at twice the temperature, half of which equipartition takes at once."""
    atoms = relaxed.copy()
    atoms.calc = calculator()
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * batch.temperature, rng=rng)
    dynamics = Langevin(atoms, units.fs, temperature_K=batch.temperature, friction=0.01 / units.fs, rng=rng)
    for step in range(batch.evaluations):
        dynamics.run(1)
        if step >= batch.start_steps and (step + 1 - batch.start_steps) % batch.stride == 0:
            yield atoms


RECIPES: dict[str, Callable[[Atoms, Batch, np.random.Generator], Iterator[Atoms]]] = {
    "eos": scan_volume,
    "strain": strain,
    "rattle": rattle,
    "md": run_md,
}


def strained(atoms: Atoms, tensor: np.ndarray) -> Atoms:
    """Return atoms whose cell and positions are multiplied by 1 + tensor (symmetric)."""
    new = atoms.copy()
    new.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    new.calc = calculator()
    return new


def rattled(atoms: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    new = atoms.copy()
    new.positions += rng.normal(scale=width, size=(len(new), 3))
    new.calc = calculator()
    return new


# ------------------------------------------------------------------------------------------------------- work


def relax(cell: str, scratch: Path) -> Atoms:
    path = scratch / f"relaxed-{Batch(cell, 'relax', 1).key}.extxyz"
    if not path.exists():
        atoms = build(cell)
        atoms.rattle(0.05, seed=SEED)  # off the symmetric saddle, where hydrogen is bonded to no carbon atom
        atoms.calc = calculator()
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=80)
        save([label(atoms, f"{cell}_relaxed")], path)
    return bare(read(path))


def bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def make(batch: Batch, number: int, relaxed: Atoms, advance: Callable[[float], None]) -> tuple[list[Atoms], list[str]]:
    """Return the labelled frames of a batch and a line for each frame that failed."""
    rng = np.random.default_rng([SEED, number])
    frames, failures = [], []
    recipe = RECIPES[batch.recipe](relaxed, batch, rng)
    for index in range(batch.frames):
        info = {"trajectory": batch.group, "step": index} if batch.recipe == "md" else {}
        try:
            frames.append(label(next(recipe), batch.group, **info))
        except StopIteration:  # a trajectory that failed earlier has no more frames
            break
        except Exception as error:
            failures.append(f"{batch.group} frame {index}: {error}")
        advance(batch.evaluations / batch.frames)
    return frames, failures


def make_all(batches: list[Batch], scratch: Path, console: Console) -> tuple[list[list[Atoms]], list[str]]:
    made, failures = [], []
    with Progress(console=console) as progress:
        bar = progress.add_task("frames", total=sum(batch.evaluations for batch in batches))
        for number, batch in enumerate(batches):
            progress.update(bar, description=batch.group)
            path = scratch / f"{batch.group}-{batch.key}.extxyz"
            failed_path = path.with_suffix(".failed.txt")
            if not path.exists():
                relaxed = relax(batch.cell, scratch)
                frames, failed = make(batch, number, relaxed, lambda count: progress.advance(bar, count))
                failed_path.write_text("".join(f"{line}\n" for line in failed), encoding="utf-8")
                save(frames, path)
            made.append(read(path, index=":") if path.stat().st_size else [])
            failures += failed_path.read_text(encoding="utf-8").splitlines() if failed_path.exists() else []
            progress.update(bar, completed=sum(done.evaluations for done in batches[: number + 1]))
    return made, failures


def split(batches: list[Batch], made: list[list[Atoms]]) -> tuple[list[Atoms], list[Atoms]]:
    """Hold back the last block of each MD trajectory, and single frames drawn from every other batch."""
    train, test = [], []
    for number, (batch, frames) in enumerate(zip(batches, made, strict=True)):
        count = len(frames)
        if batch.recipe == "md":
            held = set(range(count - TEST_BLOCK, count))
        else:
            rng = np.random.default_rng([SEED, number, 1])
            held = set(rng.choice(count, size=round(TEST_SHARE * count), replace=False).tolist()) if count else set()
        train += [frame for index, frame in enumerate(frames) if index not in held]
        test += [frame for index, frame in enumerate(frames) if index in held]
    return train, test


def save(frames: list[Atoms], path: Path) -> None:
    partial = path.with_name(path.name + ".part")
    for frame in frames:  # nine plain numbers: a matrix would be written as JSON
        frame.info["REF_stress"] = np.ravel(frame.info["REF_stress"])
    columns = ["symbols", "positions", "REF_forces"]
    if frames:
        write(partial, frames, format="extxyz", columns=columns)
    else:
        partial.touch()
    partial.replace(path)


def describe(batches: list[Batch], failures: list[str], paths: list[Path]) -> dict[str, object]:
    """Return how the frames were made, for ``dataset.json``."""
    return {
        "what": "hydrogen in diamond: C62H (hydrogen-vacancy) and C64H2 (H2* interstitial pair), 2x2x2 cells",
        "method": f"{METHOD}, Gamma point, electronic temperature 300 K, accuracy {ACCURACY}",
        "units": "eV, Å, eV/Å, eV/Å³; stress with the ASE sign, tension positive",
        "lattice_constant_A": LATTICE_CONSTANT,
        "seed": SEED,
        "versions": {name: version(name) for name in ("tblite", "ase", "numpy")},
        "batches": [{"group": batch.group, **asdict(batch)} for batch in batches],
        "test": f"last {TEST_BLOCK} frames of each MD trajectory, {TEST_SHARE:.0%} of every other group by chance",
        "failures": failures,
        "files": {path.name: summarize(path) for path in paths},
    }


def summarize(path: Path) -> dict[str, object]:
    frames = read(path, index=":")
    groups = [frame.info["config_type"] for frame in frames]
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "frames": len(frames),
        "atoms": sum(len(frame) for frame in frames),
        "groups": {group: groups.count(group) for group in sorted(set(groups))},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the frames of the hydrogen-in-diamond example.")
    parser.add_argument("--scratch", type=Path, default=Path("runs/hv-diamond-frames"), help="finished batches")
    parser.add_argument("--out", type=Path, default=HERE, help="where the data set is written")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    console, batches = Console(), plan()
    made, failures = make_all(batches, arguments.scratch, console)
    paths = [arguments.out / "train.extxyz", arguments.out / "test.extxyz"]
    for frames, path in zip(split(batches, made), paths, strict=True):
        save(frames, path)
        console.print(f"{path}: {len(frames)} frames")
    header = json.dumps(describe(batches, failures, paths), indent=2, ensure_ascii=False)
    (arguments.out / "dataset.json").write_text(header + "\n", encoding="utf-8")
    for line in failures:
        console.print(f"skipped: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
