"""What can be wrong with one frame alone: numbers, cell, distances, net force."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from forcewright.data.findings import Finding, Severity, locate
from forcewright.neighbors import find_neighbors
from forcewright.structure import Frame, Structure

#: Atoms nearer than this share of the sum of their covalent radii overlap; the second value is beyond doubt.
OVERLAP, SEVERE_OVERLAP = 0.6, 0.35
#: Nearer than this (Å) no data set means it.
COINCIDENT = 0.1
#: Farther out (Å), or with longer cell vectors, nothing that counts bins or images comes to an end.
FAR = 1e5
#: No energy (eV), force (eV/Å) or stress (eV/Å³) is larger; squares of what is would overflow before long.
HUGE = 1e12
#: Net force (eV/Å) per square root of the number of atoms; DFT on a grid leaves up to 0.006.
NET_FORCE, SEVERE_NET_FORCE = 0.03, 0.3


def check_frame(frame: Frame, index: int) -> Iterator[Finding]:
    """Yield what is wrong with one frame."""
    broken = list(check_soundness(frame, index))
    yield from broken
    if broken:
        return  # distances and sums of NaN or in a flat cell say nothing
    yield from _check_cell(frame, index)
    yield from _check_overlaps(frame, index)
    yield from _check_net_force(frame, index)
    if frame.labels.info.get("scf_converged") is False:
        message = "the electronic loop stopped before it converged, so energy and forces are not to be trusted"
        yield Finding("warning", "not converged", message, field="energy", **locate(frame, index))


def check_soundness(frame: Frame, index: int) -> Iterator[Finding]:
    """Yield only what makes a fit impossible, cheaply: NaN, infinity, a zero cell with pbc, coincident atoms."""
    structure, labels, _ = frame
    location = locate(frame, index)
    values = {"positions": structure.positions, "Lattice": structure.cell, "energy": labels.energy}
    values |= {"forces": labels.forces, "stress": labels.stress}
    for name, value in values.items():
        array = np.atleast_1d(np.asarray(0.0 if value is None else value, dtype=np.float64))
        bound = np.inf if name in ("positions", "Lattice") else HUGE
        bad = np.argwhere(~(np.isfinite(array) & (np.abs(array) <= bound)))
        if not len(bad):
            continue
        first = array[tuple(bad[0])]
        where = f" at atom {bad[0][0]}" if name in ("positions", "forces") else ""
        limit = f", more than {HUGE:g}" if np.isfinite(first) else ""
        message = f"holds {first}{where}{limit}; correct the value or leave the frame out"
        yield Finding("error", "out of bounds" if limit else "not finite", message, field=name, **location)
    if not np.isfinite(structure.cell).all() or not np.isfinite(structure.positions).all():
        return
    if (farthest := float(np.abs(structure.positions).max())) > FAR:
        atom = int(np.abs(structure.positions).max(axis=1).argmax())
        message = (
            f"atom {atom} stands {farthest:.3g} Å from the origin, more than {FAR:g} Å; correct it or leave it out"
        )
        yield Finding("error", "out of bounds", message, field="positions", **location)
    if (longest := float(np.abs(structure.cell).max())) > FAR:
        message = f"has a component of {longest:.3g} Å, more than {FAR:g} Å; correct the cell or leave the frame out"
        yield Finding("error", "out of bounds", message, field="Lattice", **location)
        return
    for axis in np.flatnonzero(structure.pbc):
        if not structure.cell[axis].any():
            message = f"is periodic along lattice vector {'abc'[axis]}, which is zero; give the cell or set pbc to F"
            yield Finding("error", "zero cell", message, field="Lattice", **location)
            return
    if structure.pbc.all() and structure.volume < 1e-3 * len(structure):
        message = f"the cell has a volume of {structure.volume:.3g} Å³ for {len(structure)} atoms; its vectors are flat"
        yield Finding("error", "zero cell", message, field="Lattice", **location)


def check_coincidence(frame: Frame, index: int) -> Iterator[Finding]:
    """Yield the pair of atoms that stand in one place, if there is one; for frames that are sound otherwise."""
    closest = closest_pair(frame.structure, COINCIDENT / 0.2)
    if closest is not None and closest[2] < COINCIDENT:
        i, j, distance, _ = closest
        message = f"atoms {i} and {j} are {distance:.3f} Å apart; leave the frame out or correct it"
        yield Finding("error", "coincident atoms", message, field="positions", **locate(frame, index))


def _check_cell(frame: Frame, index: int) -> Iterator[Finding]:
    determinant = float(np.linalg.det(frame.structure.cell))
    if frame.structure.pbc.any() and determinant < 0:
        message = (
            f"the cell is left-handed (determinant {determinant:.4g} Å³); some codes refuse it or flip the stress: "
            "exchange two lattice vectors"
        )
        yield Finding("warning", "left-handed cell", message, field="Lattice", **locate(frame, index))


def _check_overlaps(frame: Frame, index: int) -> Iterator[Finding]:
    closest = closest_pair(frame.structure, OVERLAP)
    if closest is None:
        return
    i, j, distance, share = closest
    names = [f"{chemical_symbols[frame.structure.numbers[k]]} (atom {k})" for k in (i, j)]
    pair = f"{names[0]} and {names[1]}" if i != j else f"{names[0]} and its periodic image"
    message = (
        f"{pair} are {distance:.3f} Å apart, {share:.0%} of the sum of their covalent radii; "
        "check positions, cell and units (Å, not Bohr or fractions of the cell)"
    )
    severity: Severity = "error" if share < SEVERE_OVERLAP or distance < COINCIDENT else "warning"
    yield Finding(severity, "overlapping atoms", message, field="positions", **locate(frame, index))


def closest_pair(structure: Structure, share: float) -> tuple[int, int, float, float] | None:
    """Return atoms i, j, distance (Å) and share of the sum of covalent radii of the worst pair below ``share``."""
    radii = covalent_radii[structure.numbers]
    pairs = find_neighbors(structure, float(2 * radii.max() * share))
    first, second, distances = pairs.centers, pairs.indices, pairs.distances
    if not len(distances):
        return None
    shares = distances / (radii[first] + radii[second])
    worst = int(np.argmin(shares))
    if shares[worst] >= share:
        return None
    i, j = sorted((int(first[worst]), int(second[worst])))
    return i, j, float(distances[worst]), float(shares[worst])


def _check_net_force(frame: Frame, index: int) -> Iterator[Finding]:
    forces = frame.labels.forces
    if forces is None or len(forces) < 2:
        return
    net, length = float(np.linalg.norm(forces.sum(axis=0))), float(np.linalg.norm(forces))
    scale = np.sqrt(len(forces))
    if net <= NET_FORCE * scale or net <= 0.01 * length:
        return
    severity: Severity = "error" if net > SEVERE_NET_FORCE * scale and net > 0.1 * length else "warning"
    message = (
        f"the forces sum to {net:.3g} eV/Å instead of zero ({len(forces)} atoms, largest component "
        f"{np.abs(forces).max():.3g}); a row is missing, wrong or in another order, or an outside force acts"
    )
    yield Finding(severity, "net force", message, field="forces", **locate(frame, index))
