"""Keep atoms apart where the data are silent: below its shortest distance in the data every pair repels.

Structures of the training data hold no isolated pair of atoms. What a fit says of one is therefore arbitrary, often
hundreds of electronvolts, and no core that takes over further in can mend that: where the fit lies above the core, the
way down to it is a hole. But such a fit is not the only one that the data allow. Of all coefficients c, the posterior
N(c₀, Σ) of the fit prefers among those whose pairs repel the ones that

    minimize (c - c₀)ᵀ Σ⁻¹ (c - c₀)   subject to   G c + g ≥ h,

with G c + g the repulsive forces of pairs at distances on a grid (g is that of the core), and by how much they grow
inwards, and h a small share of these of bare nuclei. Beyond the shortest distances G c + g are energies of pairs, and h
is lower than that of any bond of two atoms. Energies of the training data are held. In the multipliers λ of the dual
problem c = c₀ + Σ Gᵀ λ, and λ solves a non-negative least-squares problem (Lawson and Hanson, Solving Least Squares
Problems, 1974, chapter 23). Where all pairs repel already, nothing changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import ForcewrightError
from forcewright.features.ace.radial import zbl_repulsion
from forcewright.fitting.linear_trial import LinearTrial, potential_of
from forcewright.fitting.on_baseline import Baseline
from forcewright.fitting.problem import Problem
from forcewright.models.baseline import charges_by_element, fitted_part, vacuum_of
from forcewright.potential import Basis, Potential
from forcewright.structure import Dataset, FloatArray, Structure

log = logging.getLogger("forcewright")

#: Distance in Å from which on pairs are looked at.
CLOSEST_A = 0.4
_STEP = 0.02  # Å between the distances of the grid
_SHARE = 0.2  # of the repulsion between bare nuclei that a pair has at least
_LEAST = 0.05  # eV/Å that it has at least
_GROWTH = 0.02  # of the growth inwards of that repulsion that a pair's has at least
_LESS = 0.1  # times what a wish for growth is
_HELD, _HELD_TO = 50, 0.3  # frames whose energies are held, and to which part of the error of energies
_SLACK = 1e-3  # eV/Å or eV by which what is wanted may be missed; grows where the data would suffer
_COST = 0.03  # relative growth of the squared error, of energies, forces or stresses, that is accepted
_ROUNDS = 4
_DEEPEST = -12.0  # eV of a pair at any distance: no bond is stronger than that of CO (11.1 eV)
_MARGIN = 1.0  # eV by which it may be missed
_WIDE_STEP = 0.1  # Å between the distances at which that is asked for


@dataclass(frozen=True)
class ShortRange:
    """How the pairs of a potential were kept apart.

    Attributes
    ----------
    shortest_A
        Shortest distance of each pair "A-B" in the training data.
    changed
        Pairs that as the fit had them did not repel each other more and more below it, or were bound more strongly
        than any.
    attracting
        Those that still attract each other somewhere below it, or are.
    error_growth
        By how much the squared error of the fit, as it is weighted, has grown, relative to what it was.
    """

    shortest_A: Mapping[str, float]
    changed: tuple[str, ...] = ()
    attracting: tuple[str, ...] = ()
    error_growth: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "shortest_A": dict(self.shortest_A), "changed": list(self.changed), "attracting": list(self.attracting),
            "error_growth": self.error_growth,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Curve:
    """Pairs of atoms of two elements at growing distances (n,) in Å, of which the first ``near`` are to repel.

    They stand in one structure, out of each other's reach; ``rows`` (n, p) holds the derivatives of their repulsive
    forces by the coefficients, ``wanted`` the least of what `wishes` returns.
    """

    name: str
    structure: Structure
    distances: FloatArray
    near: int
    rows: FloatArray
    wanted: FloatArray

    @property
    def growing(self) -> NDArray[np.bool_]:
        """Which of the wishes are of growth."""
        position = np.arange(len(self.wanted))
        return (position >= self.near) & (position < 2 * self.near - 1)

    @property
    def limits(self) -> FloatArray:
        """Return what must not be missed."""
        energies = np.full(len(self.wanted) - 2 * self.near + 1, _DEEPEST - _MARGIN)
        return np.append(np.zeros(2 * self.near - 1), energies)

    def wishes(self, along: FloatArray) -> FloatArray:
        """Return forces at the near distances and their growth inwards, then energies at the others.

        ``along`` are the forces (n, ...) at all distances. Growth counts a tenth: where not everything can be had,
        repulsion comes first.
        """
        far, steps = along[self.near - 1 :], np.diff(self.distances[self.near - 1 :])
        work = 0.5 * (far[1:] + far[:-1]) * steps.reshape(-1, *[1] * (along.ndim - 1))
        energies = np.cumsum(work[::-1], axis=0)[::-1]
        near = along[: self.near]
        return np.concatenate([near, _LESS * (near[:-1] - near[1:]), energies])

    def forces(self, potential: Potential) -> FloatArray:
        """Return the repulsive forces (n,) in eV/Å."""
        forces = potential.predict([self.structure], stress=False)[0].forces
        assert forces is not None
        return np.asarray(forces[1::2, 2])


_Moved = tuple[LinearTrial, float, NDArray[np.bool_]]


def keep_apart(
    problem: Problem, params: Mapping[str, Any], trial: LinearTrial, covariance: FloatArray | None, judged: Dataset
) -> tuple[LinearTrial, ShortRange | None]:
    """Return the trial with the nearest coefficients whose pairs repel below their shortest distances in the data.

    Parameters
    ----------
    trial
        The fit to everything; of several densities, the first is changed, in which the energy is linear.
    covariance
        Posterior covariance of the linear fit (p, p), or (S + p, S + p) with the free constants of the species.
    judged
        The frames that the trial's predictions are of.

    Returns
    -------
    trial, ShortRange
        None where the settings switch it off.
    """
    if problem.settings.short_range == "off" or covariance is None:
        return trial, None
    shortest = shortest_distances(problem.everything)
    curves = _curves(shortest, trial.basis, potential_of(problem, params, trial).cutoff)
    error = trial.squared_error
    names = np.concatenate([[curve.name] * len(curve.wanted) for curve in curves])
    wanted, limits, growing = (np.concatenate([getattr(c, x) for c in curves]) for x in ("wanted", "limits", "growing"))
    of_baseline = np.concatenate([_baseline_wishes(problem.baseline, curve) for curve in curves])

    def predict(trial: LinearTrial) -> FloatArray:
        """Return forces (eV/Å) as the potential of the trial has them, and energies (eV) of what is fitted."""
        potential = fitted_part(potential_of(problem, params, trial))
        return np.asarray(np.concatenate([curve.wishes(curve.forces(potential)) for curve in curves]) + of_baseline)

    values = predict(trial)
    unmet = values < limits
    if not unmet.any():
        return trial, ShortRange(shortest)
    rows = np.concatenate([curve.wishes(curve.rows) for curve in curves])
    # constants of the species do not act on forces, but move along: the data determine them with the coefficients
    constants = len(covariance) - trial.basis.size
    rows = np.hstack([np.zeros((len(rows), constants)), rows])

    def move(covariance: FloatArray, which: NDArray[np.bool_], growth_of: Callable[[FloatArray], float]) -> _Moved:
        goal = wanted.copy()
        for _ in range(_ROUNDS):
            change, growth = _nearest(rows[which], covariance, (goal - values)[which], growth_of)
            moved = _with_change(trial, change[constants:], change[:constants])
            still = (predict(moved) < limits) & ~growing
            if not still.any():
                break
            goal[still] += 0.1 + np.abs(goal[still])  # the slack gave way, or several densities are not quite linear
        return moved, growth, still

    moved, growth, still = move(
        _holding_energies(problem, trial, covariance, judged), np.ones_like(growing), error.largest_growth
    )
    if still.any():  # where not everything can be had, repulsion comes first
        plainly = move(covariance, ~growing, error.growth)
        if plainly[2].sum() < still.sum():
            moved, growth, still = plainly
    changed, attracting = (tuple(dict.fromkeys(names[mask].tolist())) for mask in (unmet, still))
    log.info("kept apart at short range: %s", ", ".join(changed))
    return moved, ShortRange(shortest, changed, attracting, growth)


def _holding_energies(problem: Problem, trial: LinearTrial, covariance: FloatArray, judged: Dataset) -> FloatArray:
    """Return the covariance given that energies of the training data stay as they are, within part of their error.

    The fit that is best for forces and energies together may leave all energies free to shift, which few of its rows
    would notice. Gaussians are conditioned as in Rasmussen and Williams, Gaussian Processes (2006), eq. 2.23-2.24.
    """
    frames = [f for f in problem.everything if f.labels.energy is not None and len(f.structure) > 1]
    frames = frames[:: max(1, len(frames) // _HELD)]
    errors = [
        (prediction.energy - frame.labels.energy) / len(frame.structure)
        for prediction, frame in zip(trial.predictions, judged, strict=True)
        if frame.labels.energy is not None and len(frame.structure) > 1
    ]
    if not frames or not errors:
        return covariance
    rows_of = problem.rows.rows_of(trial.basis)
    rows = np.array([rows_of(frame.structure).energy for frame in frames])
    if len(covariance) > trial.basis.size:
        counts = [[np.count_nonzero(f.structure.numbers == z) for z in sorted(trial.energies)] for f in frames]
        rows = np.hstack([np.array(counts, dtype=np.float64), rows])
    rows /= np.array([[len(frame.structure)] for frame in frames])
    spread = rows @ covariance
    tolerance = max(_HELD_TO * float(np.sqrt(np.mean(np.square(errors)))), 1e-9)
    factor = cholesky(spread @ rows.T + tolerance**2 * np.eye(len(rows)), lower=True)
    half = solve_triangular(factor, spread, lower=True)
    return np.asarray(covariance - half.T @ half)


def _curves(shortest: Mapping[str, float], basis: Basis, cutoff: float) -> list[_Curve]:
    """Return the pairs of all elements at distances from `CLOSEST_A` to the cutoff."""
    curves = []
    for name, last in shortest.items():
        numbers = [chemical_symbols.index(symbol) for symbol in name.split("-")]
        count = max(2, int(np.ceil((last - CLOSEST_A) / _STEP)) + 1)
        near = np.linspace(min(CLOSEST_A, 0.9 * last), last, count)
        far = np.arange(last + _WIDE_STEP, cutoff, _WIDE_STEP)
        distances = np.concatenate([near, far, [max(cutoff, last + _WIDE_STEP)]])
        bare = -zbl_repulsion(numbers[0], numbers[1], near)[1]
        growth, energies = _LESS * _GROWTH * (bare[:-1] - bare[1:]), np.full(len(far) + 1, _DEEPEST)
        wanted = np.concatenate([np.maximum(_SHARE * bare, _LEAST), growth, energies])
        structure = _pairs_of_atoms(numbers, distances, cutoff)
        rows = np.ascontiguousarray(basis.rows(structure).forces[5::6])  # along z, on the second atom of each pair
        curves.append(_Curve(name, structure, distances, count, rows, wanted))
    return curves


def _baseline_wishes(baseline: Baseline | None, curve: _Curve) -> FloatArray:
    """Return what the baseline adds to the forces at near distances; energies are those of what is fitted alone.

    Like charges repel in vacuum, and less so among others, so that their repulsion is not counted.
    """
    added = np.zeros(len(curve.wanted))
    if baseline is None:
        return added
    try:
        forces = curve.forces(vacuum_of(baseline.potential))[: curve.near]
    except ForcewrightError:  # it takes no atoms without images
        return added
    if charges_by_element(baseline.potential):
        forces = np.minimum(forces, 0.0)
    near = np.where(np.isfinite(forces), forces, 0.0)
    added[: 2 * curve.near - 1] = np.append(near, _LESS * (near[:-1] - near[1:]))
    return added


def _pairs_of_atoms(numbers: Sequence[int], distances: FloatArray, cutoff: float) -> Structure:
    """Return pairs of atoms along z, out of each other's reach."""
    side = int(np.ceil(np.sqrt(len(distances))))
    places = np.arange(len(distances))
    lattice = (cutoff + 1.0) * np.column_stack([places // side, places % side, np.zeros(len(places))])
    positions = np.repeat(lattice, 2, axis=0)
    positions[1::2, 2] += distances
    return Structure(np.tile(numbers, len(distances)), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _nearest(
    rows: FloatArray, covariance: FloatArray, missing: FloatArray, growth_of: Callable[[FloatArray], float]
) -> tuple[FloatArray, float]:
    """Return the least change of the coefficients with rows @ change ≥ missing, and the growth of the squared error.

    Where the growth would exceed `_COST`, forces and energies may miss what is wanted by more.

    Parameters
    ----------
    rows
        Derivatives of forces and energies by the coefficients (n, p).
    covariance
        Posterior covariance of the coefficients (p, p).
    missing
        What forces and energies lack (n,); negative where they are larger than wanted.
    growth_of
        Returns by how much the squared error of the fit grows with a change, relative to what it is.
    """
    spread = rows @ covariance  # (n, p)
    free = np.einsum("np,np->n", spread, rows)
    used = free > 1e-12 * max(float(free.max(initial=0.0)), 1e-300)  # the core alone acts on the others
    if not used.any():
        return np.zeros(rows.shape[1]), 0.0
    kernel = spread[used] @ rows[used].T
    slack = _SLACK**2 + 1e-10 * float(free.max())
    change, growth = np.zeros(rows.shape[1]), 0.0
    for _ in range(40):
        factor = cholesky(kernel + slack * np.eye(len(kernel)), lower=True)
        target = solve_triangular(factor, missing[used], lower=True)
        multipliers, _ = nnls(factor.T, target, maxiter=50 * len(target))
        change = multipliers @ spread[used]
        growth = growth_of(change)
        if growth <= _COST:
            break
        slack *= 2.0
    return change, growth


def _with_change(trial: LinearTrial, change: FloatArray, constants: FloatArray) -> LinearTrial:
    """Return a trial with coefficients (p,) changed, and the fitted constants (S,) of all species, or of none."""
    coefficients = trial.coefficients.copy()
    if coefficients.ndim == 1:
        coefficients += change
    else:
        coefficients[:, 0] += change
    energies = dict(trial.energies)
    for z, constant in zip(sorted(energies), constants.tolist(), strict=False):
        energies[z] += constant
    return replace(trial, coefficients=coefficients, energies=energies)
