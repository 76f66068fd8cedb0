"""Whatever a file holds, it is read, or refused in one sentence: no traceback, no hang, no memory, no nonsense taken.

Small sound files of every kind that is read are spoiled at random (`mutation`) and given to the commands that read
them. Each kind also has numbers that are none put where a number must stand, which has to be refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import resource
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import mutation
import numpy as np
import psutil
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from command_line import run_here

import forcewright as fw
from forcewright.data import write
from forcewright.errors import ForcewrightError
from forcewright.fitting.hyperparameters import fill_model, search_ranges
from forcewright.models import load
from forcewright.models.ace import AceModel
from forcewright.models.pair_style import pair_style_potential
from forcewright.models.snap import SnapModel
from forcewright.optimize.journal import read_trials, study_fingerprint
from forcewright.properties.tensor_model import TensorSettings, irreps_of
from forcewright.protocols.structures import build_structure
from forcewright.recipes.ablate import read_ablation
from forcewright.recipes.compare import read_comparison
from forcewright.recipes.config import read_config as read_study
from forcewright.recipes.distil import read_distillation
from forcewright.recipes.dos_study import DosConfig, tune_dos
from forcewright.recipes.learning_curve import read_learning_curve
from forcewright.recipes.property_study import PropertyConfig, candidates_of, tune_property
from forcewright.recipes.run_folder import read_config
from forcewright.recipes.simulate import SimulateConfig
from forcewright.simulation.checkpoint import Checkpoint
from forcewright.structure import Dataset, Structure
from forcewright.trajectory import Snapshot
from forcewright.trajectory.h5md import H5mdWriter
from forcewright.validation.dynamic_properties import read_curve
from forcewright.validation.physics import ValidationConfig

LONGEST_S = 60  # for one input, on a machine that others use, too
MOST_BYTES = 3 << 30  # of address space that one input may add
EARLIER = Path(__file__).parent / "recipes" / "earlier_version" / "made"

Rng = np.random.Generator


class Hang(BaseException):
    """An input took too long."""


@dataclass(frozen=True)
class Kind:
    """One kind of input: ``change`` spoils ``file`` in a folder of sound files, ``use`` reads it."""

    name: str
    file: str
    change: Callable[[Path, Rng], None]
    use: Callable[[Path], Any]
    spoil: Callable[[Path, Rng], None] | None = None
    """Puts something into the file that must be refused."""
    share: float = 1.0
    """How often it is drawn: seldom what takes long."""


def command(*words: object) -> Callable[[Path], Any]:
    return lambda folder: run_here(*words, cwd=folder)


def frames(count: int = 3) -> list[Any]:
    rng, made = np.random.default_rng(1), []
    for index in range(count):
        atoms = bulk("Si", cubic=False)
        atoms.rattle(0.05, rng=rng)
        forces = rng.normal(size=(2, 3)) * 0.1
        stress = rng.normal(size=6) * 0.01
        atoms.calc = SinglePointCalculator(
            atoms, energy=-10.8 + 0.01 * index, forces=forces - forces.mean(axis=0), stress=stress
        )
        atoms.info["config_type"] = "bulk"
        made.append(atoms)
    return made


def vasprun() -> str:
    def array(name: str, rows: Any) -> str:
        return (
            f"<varray name='{name}'>" + "".join(f"<v> {x:.8f} {y:.8f} {z:.8f} </v>\n" for x, y, z in rows) + "</varray>"
        )

    atoms = "<rc><c>Si</c><c>1</c></rc>" * 2
    head = f"<atominfo><array name='atoms'><set>{atoms}</set></array></atominfo>\n"
    step = (
        "<calculation><structure><crystal>" + array("basis", 2.715 * (np.ones((3, 3)) - np.eye(3))) + "</crystal>"
        + array("positions", [[0, 0, 0], [0.25, 0.25, 0.25]]) + "</structure>"
        + array("forces", [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]]) + array("stress", 3 * np.eye(3))
        + "<energy><i name='e_fr_energy'> -10.84 </i></energy></calculation>\n"
    )  # fmt: skip
    return f"<?xml version='1.0' encoding='ISO-8859-1'?>\n<modeling>\n{head}{step * 2}</modeling>\n"


def mlearn() -> str:
    entries = []
    for atoms in frames():
        sites = [{"species": [{"element": "Si", "occu": 1}], "xyz": row} for row in atoms.positions.tolist()]
        outputs = {"energy": -10.8, "forces": atoms.get_forces().tolist(), "virial_stress": [1, 2, 3, 0.1, 0.2, 0.3]}
        structure = {"lattice": {"matrix": atoms.cell.tolist()}, "sites": sites}
        entries.append({"structure": structure, "outputs": outputs, "group": "bulk"})
    return json.dumps(entries)


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0.0 4.0
0.0 4.0
0.0 4.0
ITEM: ATOMS id element x y z fx fy fz
1 Si 0.0 0.0 0.0 0.1 0.0 0.0
2 Si 2.0 2.0 2.0 -0.1 0.0 0.0
"""

CONFIGS: dict[str, dict[str, Any]] = {
    "tune": {
        "data": {"train": ["x.extxyz"], "test": "x.extxyz", "labels": {"energy": "REF_energy"}, "skip_broken": False},
        "validation": {"kfold": 3}, "model": {
            "kind": "snap", "twojmax": {"low": 2, "high": 6}, "rcut": {"low": 3.0, "high": 4.5, "log": True},
            "rfac0": 0.9, "quadratic": False, "element_weights": {"Si": 0.5},
        },
        "weights": {"energy": {"low": 10, "high": 1000.0, "log": True}, "force": 1.0, "stress": None, "by": "group"},
        "ridge": {"low": 1e-12, "high": 1e-3, "log": True}, "loss": {"metric": "rmse", "alpha": 0.75},
        "prior": {"scale": "basis", "smoothness": "free", "sharing": 2},
        "study": {"settings": 3, "initial": 2, "seed": 1, "sampler": "gp", "acquisition": "ei"},
        "search": {"starts": 2, "evaluations": 15}, "stability": {"runs": 2, "temperature_K": 300}, "workers": 1,
        "cache_GB": 0.1, "output": "run",
    },
    "ace": {
        "data": {"train": "x.extxyz"}, "model": {
            "kind": "ace", "functions": 20, "rcut": 4.0, "nradmax": [4, 2, 1], "lmax": [0, 1, 1], "radial": "SBessel",
            "repulsion": {"inner": 1.2, "width": 0.3}, "densities": 2, "prefactors": [1.0, 0.5],
        }, "committee": {"members": 3}, "output": "run",
    },
    "gap": {
        "data": {"train": "x.extxyz"}, "model": {
            "kind": "gap", "two_body": {"cutoff": 4.0, "n_sparse": 5}, "soap": {"cutoff": 4.0, "n_max": 4, "l_max": 3},
        }, "output": "run",
    },
    "compare": {
        "data": {"train": "x.extxyz", "test": {"test": "x.extxyz"}}, "common": {"validation": {"kfold": 3}},
        "families": {"snap": {"model": {"kind": "snap", "twojmax": 4, "rcut": 4.0}}, "saved": "snap"},
        "output": "run",
    },
    "curve": {
        "data": {"train": "x.extxyz", "test": "x.extxyz"}, "families": {"snap": {"model": {"kind": "snap", "rcut": 4.0}}},
        "sizes": [2, 3], "repeats": 2, "seed": 0, "output": "run",
    },
    "simulate": {
        "potential": "snap", "structure": {"bulk": "Si", "cubic": True, "repeat": [2, 2, 2], "a_A": 5.43},
        "engine": "ase", "seed": 0, "runs": 1, "monitors": {"force_eV_per_A": 50.0, "closest_A": {"Si-Si": 1.0}},
        "trajectory": {"every_fs": 10, "format": "h5", "forces": True},
        "stages": [{"ensemble": "nvt", "thermostat": "langevin", "temperature_K": [300, 400], "time_ps": 2.0,
                    "timestep_fs": 1.0, "thermostat_time_fs": 50.0}], "output": "run",
    },
    "protocol": {
        "potential": "snap", "structure": "x.extxyz", "output": "run", "thermo_every_fs": 10,
        "protocol": {"kind": "melt_quench", "melt_K": 3000, "rate_K_per_s": 1e13, "pressure_GPa": 0},
    },
    "validate": {
        "potential": "snap", "structure": {"bulk": "Si", "cubic": True}, "output": "run",
        "properties": {"equation_of_state": {}, "elastic": {}, "vacancy": {}, "dimer": {"pairs": [["Si", "Si"]]}},
    },
    "generate": {
        "structures": {"si": {"bulk": "Si", "cubic": True}}, "seed": 1, "output": "made.extxyz",
        "recipes": [
            {"kind": "rattle", "count": 2, "amplitudes_A": [0.05], "then": [{"kind": "strain", "largest": 0.02, "count": 2}]},
            {"kind": "random", "count": 1, "composition": {"Si": 4}, "density_g_per_cm3": [1.0, 2.0], "separations": 1.5},
            {"kind": "dimers", "species": ["Si", "Si"], "distances_A": [1.5, 3.0], "count": 3},
            {"kind": "supercell", "repeats": [2, 1, 1], "then": [{"kind": "vacancy"}]},
        ],
    },
    "cluster": {
        "data": {"train": "x.extxyz", "without": ["surface"]}, "model": {"kind": "snap", "twojmax": {"low": 2, "high": 6}},
        "executor": {"slurm": {"jobs": 2, "cores": 1, "memory_GB": 2.5, "walltime": "01:00:00", "partition": "short",
                               "account": "a", "interface": "ib0", "options": ["--qos=short"]}},
        "physics": {
            "structure": {"bulk": "Si", "cubic": True}, "properties": {"elastic": {}}, "sets": {"more": ["x.extxyz"]},
            "probe": {"temperature_K": 900, "runs": 2, "time_ps": 0.1}, "candidates": 4,
            "limits": {"probe.survived": {"at_least": 1}, "more.force_rmse_eV_per_A": {"at_most": 0.2}},
            "objectives": {"elastic.C11_GPa": {"target": 160, "scale": 10}},
        }, "output": "run",
    },
    "distil": {
        "teacher": {"lammps": {"pair_style": "lj/cut 4.0", "pair_coeff": "* * 0.01 2.0", "species": ["Si"]}},
        "structures": {"si": {"bulk": "Si", "cubic": True}}, "files": {"more": "x.extxyz"}, "labels": "x.extxyz",
        "test": ["x.extxyz"], "keys": {"energy": "REF_energy"}, "generate": {"count": 2, "sigma_A": [0.05, 0.1]},
        "further": [{"kind": "dimers", "species": ["Si", "Si"], "distances_A": [1.5, 3.0], "count": 3}],
        "correction": {"model": {"kind": "ace", "functions": 10, "rcut": 4.0}},
        "student": {"model": {"kind": "ace", "functions": 10, "rcut": 4.0}, "stability": "off"}, "sizes": [4],
        "physics": {"structure": {"bulk": "Si", "cubic": True}, "properties": {"elastic": {}}}, "data_license": "CC0",
        "workers": 1, "seed": 0, "output": "run",
    },
    "ablate": {
        "data": {"train": ["x.extxyz"], "test": {"test": "x.extxyz"}},
        "base": {"model": {"kind": "snap", "twojmax": 4, "rcut": 4.0}, "stability": {"temperature_K": 900}},
        "changes": {"nearer": {"model": {"rcut": 3.0}}, "fewer": {"without": ["bulk"]}, "no stress": {"weights": {"stress": None}},
                    "ace": {"model": {"kind": "ace", "functions": 10}}}, "power_W_per_core": 10, "output": "run",
    },
    "property": {
        "target": {"name": "dipole", "key": "mu"}, "data": {"train": "water.extxyz", "test": ["water.extxyz"]},
        "model": {"cutoff": 3.0, "degrees": [2], "nmax": 2, "lmax": 1, "alternatives": [{"cutoff": 2.0}]}, "folds": 2,
        "robust": False, "frame_error": 0.1, "leave_out": "groups", "seed": 0, "output": "run",
    },
    "kernel": {
        "target": {"name": "gap", "irreps": "0e", "per": "structure", "unit": "eV", "key": "gap"},
        "data": {"train": "water.extxyz", "skip_broken": True}, "output": "run", "folds": 2,
        "model": {"kind": "kernel", "descriptor": "ace", "cutoff": {"low": 2.0, "high": 3.0}, "representatives": 5},
        "study": {"trials": 1, "initial": 1}, "leave_out": {"one": ["a"]},
    },
    "dos": {
        "target": {"name": "dos", "grid": {"low": -2, "high": 2, "step": 0.5, "zero": "fermi"}, "reduce": "mean",
                   "file": "{stem}.npz"},
        "data": {"train": "metal.extxyz"}, "output": "run", "folds": 2, "weights": {"a": 2.0}, "seed": 1,
        "model": {"electrons": {"Si": 2.0}, "environment": {"cutoff": 3.0, "nradmax": [3, 1], "lmax": [0, 1],
                                                             "length": 1.0, "scaling": {"low": 0.5, "high": 1.0}}},
        "study": {"trials": 1, "initial": 1},
    },
    "label": {
        "structures": ["x.extxyz"], "output": "labelled.extxyz", "workers": 1, "retry_failures": False,
        "reference": {"lammps": {"pair_style": "lj/cut 4.0", "pair_coeff": "* * 0.01 2.0", "species": ["Si"]}},
    },
}  # fmt: skip


def _study(path: Path) -> Any:
    config = read_study(path)
    if not search_ranges(config.model):
        model = fill_model(config.model, {})
        return model.basis((14,)) if config.family.is_linear else model
    return config


def _simulation(path: Path) -> Any:
    settings, folder, _ = read_config(SimulateConfig, path)
    return settings.plan(), build_structure(settings.structure, folder)


def _property(path: Path) -> Any:
    settings, _, _ = read_config(PropertyConfig, path)
    candidates = [] if settings.ranges else candidates_of(settings.model)
    return [c.basis((1, 8), irreps_of(settings.target)) for c in candidates if isinstance(c, TensorSettings)]


def _density(path: Path) -> Any:
    settings, _, _ = read_config(DosConfig, path)
    content, ranges = settings.searched()
    return settings.target, content, ranges


def _validation(path: Path) -> Any:
    settings, folder, _ = read_config(ValidationConfig, path)
    return settings.asked(), build_structure(settings.structure, folder)


LOADERS: dict[str, Callable[[Path], Any]] = {
    "tune": _study, "ace": _study, "gap": _study, "compare": read_comparison, "curve": read_learning_curve,
    "cluster": _study, "distil": read_distillation, "ablate": read_ablation, "property": _property, "kernel": _property,
    "dos": _density, "simulate": _simulation, "protocol": _simulation, "validate": _validation,
}  # fmt: skip


# ----------------------------------------------------------------------------------------- sound inputs


def _potentials(folder: Path) -> None:
    structures = [Structure.from_ase(atoms) for atoms in frames()]
    snap, ace = SnapModel(kind="snap", twojmax=2, rcut=3.0), AceModel(kind="ace", functions=4, rcut=3.0)
    for name, model in (("snap", snap), ("ace", ace)):
        basis = model.basis((14,))
        coefficients = 1e-3 * np.random.default_rng(0).normal(size=basis.size)
        potential = model.potential(basis, coefficients, {14: -5.0}, covariance=1e-6 * np.eye(basis.size))
        potential.with_active_set(structures).save(folder / name)
    shutil.copy(folder / "ace" / "model.yace", folder / "m.yace")
    for part in ("snapcoeff", "snapparam"):
        shutil.copy(folder / "snap" / f"model.{part}", folder / f"m.{part}")
    style = pair_style_potential("lj/cut 4.0", "1 1 0.01 2.0", folder, species=["Si"])
    style.save(folder / "style")
    for name in ("ace-densities", "command", "gap", "sgdml"):
        shutil.copytree(EARLIER / "potentials" / name, folder / name)


def _properties(folder: Path) -> None:
    """Write labels of properties and a small model of each kind."""
    rng = np.random.default_rng(2)
    water, metal = [], frames(12)
    for index in range(6):
        atoms = Atoms(
            "OHH", np.array([[0.0, 0, 0], [0.8, 0.5, 0], [-0.8, 0.5, 0]]) + rng.normal(scale=0.1, size=(3, 3))
        )
        atoms.info |= {"mu": np.array([-0.8, 0.4, 0.4]) @ atoms.positions, "gap": float(rng.normal())}
        atoms.info["config_type"] = "ab"[index % 2]
        water.append(atoms)
    for index, atoms in enumerate(metal):
        atoms.calc = None
        atoms.info["config_type"] = "ab"[index % 2]
    ase.io.write(folder / "water.extxyz", water)
    ase.io.write(folder / "metal.extxyz", metal)
    np.savez(folder / "metal.npz", dos=rng.uniform(0.5, 1.5, size=(12, 9)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, tune in (("property", tune_property), ("kernel", tune_property), ("dos", tune_dos)):
            with_paths = {**CONFIGS[name], "data": {"train": str(folder / CONFIGS[name]["data"]["train"])}}
            shutil.move(tune(with_paths, output=folder / "study").folder / "model", folder / f"{name}-model")  # type: ignore[operator]
            shutil.rmtree(folder / "study")


def make_sound(folder: Path) -> None:
    """Write a small sound file of every kind."""
    write(Dataset.from_ase(frames()), folder / "x.extxyz")
    (folder / "x.xyz.gz").write_bytes(gzip.compress((folder / "x.extxyz").read_bytes(), mtime=0))
    for ending in ("db", "npz"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # npz holds neither stresses nor groups
            write(Dataset.from_ase(frames()), folder / f"x.{ending}")
    (folder / "x.json").write_text(mlearn())
    (folder / "vasprun.xml").write_text(vasprun())
    (folder / "vasprun.xml.gz").write_bytes(gzip.compress(vasprun().encode(), mtime=0))
    silicon = frames(2)
    silicon[0].set_constraint(FixAtoms([0]))
    ase.io.write(folder / "POSCAR", silicon[0], format="vasp")
    ase.io.write(folder / "x.cif", silicon[0])
    ase.io.write(folder / "x.traj", silicon)
    (folder / "x.dump").write_text(DUMP)
    writer = H5mdWriter(folder / "x.h5", forces=True)
    for index, atoms in enumerate(silicon):
        shot = Snapshot(Structure.from_ase(atoms), index, 10.0 * index, np.zeros((2, 3)), -10.8, atoms.get_forces())
        writer.write(shot, "nvt")
    writer.finish()
    (folder / "cu.extxyz").write_text((EARLIER / "cells.extxyz").read_text())
    (folder / "curve.json").write_text(json.dumps({"r": [1.0, 2.0, 3.0], "g": [0.0, 1.0, 1.0]}))
    _potentials(folder)
    _properties(folder)
    for name, content in CONFIGS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for name in ("finished", "simulation"):
        shutil.copytree(EARLIER / name, folder / name)
    figure = ['<svg xmlns="http://www.w3.org/2000/svg"></svg>', 3.0]
    section = {"title": "Physics: dimers", "text": "of Cu", "figures": [figure], "tables": [], "page": "p/report.html"}
    (folder / "finished" / "physics.json").write_text(json.dumps([section]))
    for path in folder.rglob("*.yaml"):
        path.write_text(path.read_text().replace("@HERE@", "."))


# ------------------------------------------------------------------------------------- what has to be refused


def _label_number(path: Path, rng: Rng) -> None:
    """Put something that is no number where a label, a position or a lattice vector is."""
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    data = gzip.decompress(data) if packed else data
    where = re.compile(rb'energy=|stress="|Lattice="|^Si +|<v> |<i name=.e_fr_energy.> ', re.MULTILINE)
    start = mutation.pick(rng, list(where.finditer(data)))
    hit = mutation.NUMBER.search(data, start.end())
    assert hit is not None
    others = [word for word in mutation.NO_NUMBERS if b"," not in word]
    data = data[: hit.start()] + mutation.pick(rng, others) + data[hit.end() :]
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def _array_number(path: Path, rng: Rng) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    name = mutation.pick(rng, ["R", "E", "F", "lattice" if "lattice" in arrays else "lattices"])
    array = np.array(arrays[name], dtype=float)
    array.flat[int(rng.integers(array.size))] = mutation.pick(rng, [np.nan, np.inf, -np.inf])
    arrays[name] = array
    np.savez(path, **arrays)


def _tree_number(*keys: tuple[str, ...]) -> Callable[[Path, Rng], None]:
    """Return what puts something that is no number at one of some places of a JSON or YAML file."""

    def spoil(path: Path, rng: Rng) -> None:
        is_json = path.suffix == ".json"
        tree = json.loads(path.read_text()) if is_json else yaml.safe_load(path.read_text())
        *above, key = mutation.pick(rng, keys)
        wrong = [True, "text", float("nan"), float("inf"), -float("inf"), 10**400, [], {}, "1_000", "1e999", "nan"]
        mutation.at(tree, tuple(above))[key] = mutation.pick(rng, wrong)
        path.write_text(json.dumps(tree) if is_json else yaml.safe_dump(tree))

    return spoil


def _file_number(path: Path, rng: Rng) -> None:
    """Put something that is no finite number where a coefficient is."""
    data = path.read_bytes()
    start = data.index(b"\nSi ") if b"\nSi " in data else 0
    hits = [hit for hit in mutation.NUMBER.finditer(data, start) if b"." in hit[0]]
    hit = mutation.pick(rng, hits)
    path.write_bytes(
        data[: hit.start()] + mutation.pick(rng, [b"nan", b"inf", b"strong", b"1e999"]) + data[hit.end() :]
    )


def _rehashed(path: Path, rng: Rng) -> None:
    """Change a file of a potential, and its hash with it."""
    path.write_bytes(mutation.text_mutation(path.read_bytes(), rng))
    record = json.loads((path.parent / "potential.json").read_text())
    record["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "potential.json").write_text(json.dumps(record))


# ------------------------------------------------------------------------------------------------ kinds

text, tree_json, tree_yaml = map(
    mutation.whole_file, (mutation.text_mutation, mutation.json_mutation, mutation.yaml_mutation)
)
packed, npz, npy = map(mutation.whole_file, (mutation.packed_mutation, mutation.npz_mutation, mutation.npy_mutation))


def _journal(folder: Path) -> None:
    path = folder / "finished" / "journal.log"
    read_trials(path)
    study_fingerprint(path)


def _kinds() -> list[Kind]:
    kinds = []
    labelled = {
        "x.extxyz": (text, _label_number), "x.xyz.gz": (packed, _label_number), "x.npz": (npz, _array_number),
        "x.db": (mutation.db_mutation, None), "vasprun.xml": (text, _label_number),
        "vasprun.xml.gz": (packed, _label_number),
        "x.json": (tree_json, _tree_number((0, "outputs", "energy"), (1, "outputs", "forces", 0, 1),
                                           (2, "outputs", "virial_stress", 3), (0, "structure", "sites", 1, "xyz", 0))),
    }  # fmt: skip
    for file, (change, spoil) in labelled.items():
        kinds.append(Kind(f"check {file}", file, change, command("check", file), spoil))
        kinds.append(Kind(f"convert {file}", file, change, command("convert", file, "out.extxyz"), spoil))
    kinds.append(Kind("split", "x.extxyz", text, command("split", "x.extxyz", "--by", "random", "--test", 0.4, "-o", "a.xyz", "b.xyz")))  # fmt: skip
    kinds.append(Kind("select", "x.extxyz", text, command("select", "x.extxyz", "--count", 2, "-o", "few.xyz")))
    unlabelled = {"POSCAR": text, "x.cif": text, "x.traj": mutation.whole_file(lambda d, r: mutation.pick(r, mutation.BYTES)(d, r)),
                  "x.h5": mutation.h5_mutation, "x.dump": text}  # fmt: skip
    for file, change in unlabelled.items():
        kinds.append(Kind(f"predict {file}", file, change, command("predict", "ace", file, "-o", "out.extxyz")))
    for file in ("x.h5", "x.dump", "x.extxyz", "x.traj"):
        change = unlabelled.get(file, text)

        def analyze(folder: Path, file: str = file) -> None:
            fw.analyze(folder / file, ["rdf", "msd"])  # type: ignore[operator]

        kinds.append(Kind(f"analyze {file}", file, change, analyze))
    numbers = {
        "tune": [("ridge", "low"), ("study", "seed"), ("model", "rfac0"), ("model", "rcut", "low"), ("loss", "alpha"),
                 ("weights", "force"), ("workers",), ("cache_GB",), ("stability", "runs")],
        "ace": [("model", "rcut"), ("model", "functions"), ("model", "prefactors", 0),
                ("committee", "members"), ("model", "lmax", 1)],
        "gap": [("model", "two_body", "cutoff"), ("model", "soap", "n_max")],
        "compare": [("common", "validation", "kfold")],
        "curve": [("families", "snap", "model", "rcut"), ("sizes", 0), ("seed",)],
        "simulate": [("structure", "a_A"), ("structure", "repeat", 0), ("seed",), ("stages", 0, "time_ps"),
                     ("stages", 0, "temperature_K", 1), ("monitors", "closest_A", "Si-Si"), ("trajectory", "every_fs")],
        "protocol": [("protocol", "melt_K"), ("protocol", "rate_K_per_s"), ("thermo_every_fs",)],
        "generate": [("seed",), ("recipes", 0, "count"), ("recipes", 0, "amplitudes_A", 0), ("recipes", 1, "composition", "Si"),
                     ("recipes", 1, "density_g_per_cm3", 0), ("recipes", 2, "distances_A", 0)],
        "label": [("workers",)],
        "cluster": [("executor", "slurm", "jobs"), ("executor", "slurm", "memory_GB"), ("physics", "candidates"),
                    ("physics", "limits", "probe.survived", "at_least"), ("physics", "probe", "runs"),
                    ("physics", "objectives", "elastic.C11_GPa", "scale")],
        "distil": [("seed",), ("workers",), ("sizes", 0), ("generate", "count"), ("generate", "sigma_A", 0),
                   ("student", "model", "rcut"), ("correction", "model", "functions"), ("further", 0, "count")],
        "ablate": [("base", "model", "rcut"), ("changes", "nearer", "model", "rcut"), ("power_W_per_core",)],
        "property": [("model", "cutoff"), ("model", "degrees", 0), ("model", "alternatives", 0, "cutoff"),
                     ("frame_error",), ("folds",), ("seed",)],
        "kernel": [("model", "cutoff", "low"), ("model", "representatives"), ("folds",)],
        "dos": [("target", "grid", "step"), ("target", "grid", "low"), ("folds",), ("weights", "a"), ("seed",),
                ("model", "environment", "cutoff"), ("model", "electrons", "Si")],
    }  # fmt: skip
    for name in CONFIGS:
        file = f"{name}.yaml"
        loader = LOADERS.get(name)
        use = (
            command(name, file) if loader is None else (lambda folder, loader=loader, file=file: loader(folder / file))
        )
        spoil = _tree_number(*numbers[name]) if name in numbers else None
        kinds.append(Kind(f"config {name}", file, tree_yaml, use, spoil, 0.2 if name == "label" else 1.0))
    saved = {
        "snap/potential.json": tree_json, "snap/model.snapcoeff": text, "snap/model.snapparam": text, "snap/posterior.npy": npy,
        "ace/potential.json": tree_json, "ace/model.yace": text, "ace/fit.npz": npz, "ace-densities/model.yace": text,
        "m.yace": text, "m.snapcoeff": text, "m.snapparam": text, "style/potential.json": tree_json,
        "sgdml/potential.json": tree_json, "sgdml/kernel-0.npz": npz, "gap/potential.json": tree_json, "gap/gp.xml": text,
    }  # fmt: skip
    wrong = {
        "m.snapcoeff": _file_number, "m.yace": _file_number,
        "snap/potential.json": _tree_number(("rcut",), ("rfac0",), ("coefficients", 2), ("weights", "Si"), ("version",)),
        "gap/potential.json": _tree_number(("cutoff",)), "style/potential.json": _tree_number(("cutoff",)),
    }  # fmt: skip
    for file, change in saved.items():
        where = Path(file).parts[0]
        where = "m.snapcoeff" if where == "m.snapparam" else where
        cells = "cu.extxyz" if where in ("ace-densities", "sgdml", "gap") else "x.extxyz"
        kinds.append(
            Kind(
                f"load {file}",
                file,
                change,
                command("predict", where, cells),
                wrong.get(file),
                0.5 if where == "gap" else 1.0,
            )
        )
    for name, cells, files in (
        ("property", "water", {"potential.json": tree_json, "coefficients.npz": npz}),
        ("kernel", "water", {"potential.json": tree_json, "coefficients.npz": npz}),
        ("dos", "metal", {"dos.json": tree_json, "dos.npz": npz}),
    ):  # fmt: skip
        for file, change in files.items():
            used = command("predict", f"{name}-model", f"{cells}.extxyz", "-o", "out.csv")
            kinds.append(Kind(f"load {name} {file}", f"{name}-model/{file}", change, used))
    for name, file, change in (("property", "water.extxyz", text), ("dos", "metal.npz", npz)):
        kinds.append(Kind(f"fit {name}", file, change, command("tune", f"{name}.yaml"), share=0.5))
    kinds.append(Kind("load command", "command/potential.json", tree_json, lambda folder: load(folder / "command", allow_commands=True)))  # fmt: skip
    for file, change in {
        "result.json": tree_json, "report.json": tree_json, "physics.json": tree_json, "config.resolved.yaml": tree_yaml, "parity_test.npz": npz,
    }.items():  # fmt: skip
        kinds.append(Kind(f"report {file}", f"finished/{file}", change, command("report", "finished"), share=0.05))
    kinds.append(Kind("journal", "finished/journal.log", text, _journal))
    kinds.append(Kind("checkpoint", "simulation/checkpoint.npz", npz, lambda folder: Checkpoint.load(folder / "simulation" / "checkpoint.npz")))  # fmt: skip
    kinds.append(Kind("curve of g(r)", "curve.json", tree_json, lambda folder: read_curve(folder / "curve.json"), _tree_number(("r", 1), ("g", 0))))  # fmt: skip
    return kinds


KINDS = _kinds()
#: One kind of each way to read the same files.
USES = {(kind.name.split()[0], kind.file.split("/")[0]): kind for kind in KINDS}


# ----------------------------------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make_sound(folder)
    return folder


@contextmanager
def _bounded() -> Iterator[None]:
    """End what hangs, and let allocations beyond all measure fail."""

    def alarm(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, alarm)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MOST_BYTES, hard))
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def fault_of(kind: Kind, folder: Path, *, sound: bool = False, wrong: bool = False) -> str | None:
    """Return what is wrong with how the files of a folder are read; None where they are read or refused in order."""
    try:
        with _bounded(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            ended = kind.use(folder)
    except Hang:
        return "hangs"
    except MemoryError:
        return "fills the memory"
    except ForcewrightError as error:
        code, said = 1, f"error: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        is_command = hasattr(ended, "returncode")
        code, said = (ended.returncode, ended.stderr + ended.stdout) if is_command else (0, "")
    if "Traceback" in said or "not enough memory" in said:
        return f"says: {said[-800:]}"
    if code not in (0, 1, 2):
        return f"ends with {code}"
    if len(said) > 20_000 or len(re.findall(r"^error: ", said, re.MULTILINE)) > 1 and "check" not in kind.name:
        return f"says {len(said)} characters: {said[:300]}"
    if code and not said.strip():
        return "is refused without a word"
    if sound and code:
        return f"is refused, and sound: {said[:500]}"
    if wrong and not code:
        return "is accepted, and wrong"
    return None


def spoiled(sound: Path, folder: Path, seed: int) -> tuple[Kind, bool]:
    """Make a copy of the sound files one of which is spoiled; return its kind, and whether it has to be refused."""
    rng = np.random.default_rng(seed)
    shares = np.array([kind.share for kind in KINDS])
    kind = KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    shutil.copytree(sound, folder)
    wrong = kind.spoil is not None and rng.random() < 0.3
    (kind.spoil if wrong else kind.change)(folder / kind.file, rng)  # type: ignore[misc]
    return kind, wrong


def faults(sound: Path, tmp_path: Path, seeds: range) -> list[str]:
    listed = []
    for seed in seeds:
        folder = tmp_path / str(seed)
        kind, wrong = spoiled(sound, folder, seed)
        if (fault := fault_of(kind, folder, wrong=wrong)) is not None:
            listed.append(f"seed {seed}, {kind.name}: {fault}")
        shutil.rmtree(folder)
    return listed


@pytest.mark.parametrize("kind", USES.values(), ids=lambda kind: kind.name)
def test_sound_files_are_read(kind: Kind, sound: Path, tmp_path: Path) -> None:
    folder = mutation.copied(sound, tmp_path / "copy")
    assert fault_of(kind, folder, sound=True) is None


def test_spoiled_files_are_read_or_refused_in_a_sentence(sound: Path, tmp_path: Path) -> None:
    assert not faults(sound, tmp_path, range(200))


@pytest.mark.slow
def test_many_spoiled_files_are_read_or_refused_in_a_sentence(sound: Path, tmp_path: Path) -> None:
    assert not faults(sound, tmp_path, range(200, 2200))
