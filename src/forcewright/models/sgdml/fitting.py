"""Fitting of sGDML with the package sgdml: its kernel and its solver, over descriptors of cells with any lattices."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from forcewright.data.folds import holdout
from forcewright.errors import InputError, MissingExtraError
from forcewright.models.sgdml.kernel import KernelModel, descriptors
from forcewright.models.sgdml.potential import CellKernel, SgdmlPotential
from forcewright.structure import Dataset, IntArray

if TYPE_CHECKING:
    from forcewright.models.sgdml.hyperparameters import SgdmlModel

#: Copies of the kernel that are alive at once: itself, with its sign flipped, and its factor (as sgdml counts).
KERNEL_COPIES = 3


def predicted_memory(count: int, atoms: int, permutations: int = 1, energies: bool = True) -> int:
    """Return the bytes that a fit takes at its peak.

    The kernel has 3N rows for each of ``count`` structures, one more with energies. Beside it stand the descriptors
    with their Jacobians, twice, and full Jacobians of one structure under all permutations.
    """
    rows = count * (3 * atoms + int(energies))
    pairs = atoms * (atoms - 1) // 2
    return 8 * (KERNEL_COPIES * rows**2 + 2 * count * pairs * 4 + (2 * permutations + 3) * pairs * 3 * atoms)


def largest_count(memory: float, atoms: int, permutations: int = 1, energies: bool = True) -> int:
    """Return how many structures a fit can take in so many bytes."""
    low, high = 0, 1
    while predicted_memory(high, atoms, permutations, energies) <= memory:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if predicted_memory(middle, atoms, permutations, energies) <= memory:
            low = middle
        else:
            high = middle
    return low


def free_memory() -> int:
    """Return the bytes this process may still take, limits of its container included."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(int(limit) - used, 0)) if limit.isdigit() else free


def fit(model: SgdmlModel, train: Dataset, *, rng: np.random.Generator) -> SgdmlPotential:
    """Fit sGDML; see `SgdmlModel.fit`."""
    cells = [_drawn(model, part, rng) for part in _cells(train)]
    for part in cells:
        _check_memory(model, len(part), len(part[0].structure), 1)
    _require_sgdml()
    fitted, trained = [], []
    for part in cells:
        kernel, facts = _fit_cell(model, part, rng)
        structure = part[0].structure
        x, y, z = (bool(periodic) for periodic in structure.pbc)
        fitted.append(CellKernel(tuple(structure.numbers.tolist()), (x, y, z), kernel))
        trained.append({"formula": structure.formula, **facts})
    provenance = {
        "package": f"sgdml {version('sgdml')}", "cells": trained, "hyperparameters": model.model_dump(mode="json"),
    }  # fmt: skip
    return SgdmlPotential(tuple(fitted), provenance)


def _fit_cell(model: SgdmlModel, train: Dataset, rng: np.random.Generator) -> tuple[KernelModel, dict[str, Any]]:
    """Return the kernel of one cell, with the sigma that predicts best what is held back, and how it came about."""
    atoms = len(train[0].structure)
    permutations = _permutations(train) if model.symmetries else np.arange(atoms)[None]
    _check_memory(model, len(train), atoms, len(permutations))
    errors: dict[str, float] = {}
    sigma = model.sigmas[0]
    if len(model.sigmas) > 1:
        errors = _validation_errors(model, train, permutations, rng)
        sigma = min(model.sigmas, key=lambda s: (errors[f"{s:g}"], s))
    kernel = train_kernel(train, sigma, model.regularization, permutations, model.energy_constraints)
    return kernel, {
        "frames": len(train), "symmetries": len(permutations), "validation_force_rmse_eV_per_A": errors,
        "predicted_memory_bytes": predicted_memory(len(train), atoms, len(permutations), model.energy_constraints),
    }  # fmt: skip


def _drawn(model: SgdmlModel, train: Dataset, rng: np.random.Generator) -> Dataset:
    if model.n_train is None or model.n_train >= len(train):
        return train
    return train[np.sort(rng.permutation(len(train))[: model.n_train])]


def _cells(train: Dataset) -> list[Dataset]:
    """Return the frames of each cell, in the order in which cells come, after checking labels and orders of atoms."""
    counts = train.count_labels()
    if min(counts["energy"], counts["forces"]) < len(train):
        raise InputError(
            f"sGDML needs frames that all have energies and forces; of {len(train)} frames "
            f"{counts['energy']} have energies and {counts['forces']} forces",
            file=train.source or None,
        )
    members: dict[tuple[bytes, bytes], list[int]] = {}
    for index, structure in enumerate(train.structures):
        members.setdefault((structure.numbers.tobytes(), structure.pbc.tobytes()), []).append(index)
    first_of: dict[str, int] = {}
    for same in members.values():
        first = same[0]
        structure = train[first].structure
        if len(structure) < 2:
            raise InputError("sGDML needs at least two atoms", file=train.source or None, frame=first, field="numbers")
        if (other := first_of.setdefault(structure.formula, first)) != first:
            raise InputError(
                f"holds {structure.formula} with its atoms in another order, or other pbc, than frame {other}; sGDML "
                "is a model of whole cells: give the atoms in one order",
                file=train.source or None, frame=first, field="numbers",
            )  # fmt: skip
        if len(same) < 2:
            raise InputError(
                f"is the only one of {structure.formula}; sGDML needs at least 2 frames of each cell",
                file=train.source or None, frame=first, field="numbers",
            )  # fmt: skip
    if not members:
        raise InputError("sGDML needs at least 2 frames of each cell", file=train.source or None)
    return [train[same] for same in members.values()]


def _check_memory(model: SgdmlModel, count: int, atoms: int, permutations: int) -> None:
    free = free_memory()
    allowed = free if model.max_memory_GB is None else min(free, model.max_memory_GB * 1e9)
    needed = predicted_memory(count, atoms, permutations, model.energy_constraints)
    if needed <= allowed:
        return
    most = largest_count(allowed, atoms, permutations, model.energy_constraints)
    rows = count * (3 * atoms + int(model.energy_constraints))
    advice = f"set n_train to {most} or less" if most >= 2 else "not even 2 structures fit; use another family"
    raise InputError(
        f"sGDML would need about {needed / 1e9:.2f} GB for {count} structures of {atoms} atoms (a kernel of {rows} × "
        f"{rows} numbers, {KERNEL_COPIES} times), and {allowed / 1e9:.2f} GB may be used; {advice}",
        field="model.n_train",
    )


def _validation_errors(
    model: SgdmlModel, train: Dataset, permutations: IntArray, rng: np.random.Generator
) -> dict[str, float]:
    """Return the force error in eV/Å of each sigma on frames that are held back."""
    kept, held = holdout(train, model.validation_share, rng)
    errors = {}
    for sigma in model.sigmas:
        kernel = train_kernel(train[kept], sigma, model.regularization, permutations, model.energy_constraints)
        differences = (kernel.predict(structure)[1] - np.asarray(labels.forces) for structure, labels, _ in train[held])
        error = float(np.sqrt(np.mean([np.mean(difference**2) for difference in differences])))
        errors[f"{sigma:g}"] = error if np.isfinite(error) else float(np.finfo(np.float64).max)
    return errors


def train_kernel(
    train: Dataset, sigma: float, regularization: float, permutations: IntArray, energies: bool
) -> KernelModel:
    """Solve for the coefficients with sgdml's kernel and its solver in closed form.

    `sgdml.train.GDMLTrain.train` allows one lattice for all frames; here each has its own, which only the descriptors
    see. Everything after them is sgdml's.
    """
    _require_sgdml()
    from sgdml.solvers.analytic import Analytic
    from sgdml.utils.desc import Desc

    atoms = len(train[0].structure)
    desc = Desc(atoms, max_processes=1)
    points, jacobians = (np.array(part) for part in zip(*map(descriptors, train.structures), strict=True))
    pair_permutations = np.array([Desc.perm(p) for p in permutations])
    flat = (pair_permutations + np.arange(len(permutations))[:, None] * desc.dim).flatten("F")
    reference = np.array([labels.energy for labels in train.labels], dtype=np.float64)
    forces = np.concatenate([np.ravel(labels.forces) for labels in train.labels if labels.forces is not None])
    targets = np.concatenate([forces, reference.mean() - reference]) if energies else forces
    std = float(np.std(targets)) or 1.0
    task = {"sig": sigma, "lam": regularization, "use_E_cstr": energies}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alphas = Analytic(_trainer(), desc).solve(task, points, jacobians, flat, targets / std)
    of_forces, of_energies = alphas[: len(forces)], alphas[len(forces) :]
    kernel = KernelModel(
        points, np.asarray(desc.d_desc_dot_vec(jacobians, of_forces.reshape(len(train), -1))), of_energies,
        pair_permutations, float(sigma), std, float(reference.mean()) if energies else 0.0,
    )  # fmt: skip
    if energies:
        return kernel
    # Forces leave the energy open by a constant: the mean difference on the training set.
    return replace(kernel, constant=float(np.mean(reference - [kernel.evaluate(point)[0] for point in points])))


def _permutations(train: Dataset, most: int = 100) -> IntArray:
    """Return the symmetries (P, N) that sgdml finds between frames, with all lattices carried over to the first."""
    from sgdml.utils.perm import find_perms

    frames = train.structures[:: max(1, -(-len(train) // most))]
    numbers, cell = frames[0].numbers, frames[0].cell
    lattice, positions = None, [structure.positions for structure in frames]
    if frames[0].pbc.any():
        lattice = (cell.T, np.linalg.inv(cell.T))
        positions = [structure.positions @ np.linalg.inv(structure.cell) @ cell for structure in frames]
    return np.asarray(find_perms(np.array(positions), numbers, lattice, max_processes=1), dtype=np.int64)


def _require_sgdml() -> None:
    """Import sgdml, or say how to get it; what it does to all loggers that are made later is undone."""
    usual = logging.getLoggerClass()
    if usual.__module__.startswith("sgdml"):
        usual = logging.Logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if find_spec("torch") is not None:
                import torch  # noqa: F401  # sgdml imports it, and its loggers should be ordinary ones
            import sgdml.train  # noqa: F401
    except ImportError:
        raise MissingExtraError("sgdml", "sgdml", "An sGDML force field") from None
    finally:
        logging.setLoggerClass(usual)
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "sgdml"]:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)


@lru_cache(maxsize=1)
def _trainer() -> Any:
    """Return the one trainer that sgdml allows in a process."""
    from sgdml.train import GDMLTrain

    return GDMLTrain(max_processes=1)
