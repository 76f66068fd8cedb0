"""Which crystallographic site each mobile atom is in: the polyhedron of framework atoms around it.

The corners of a polyhedron are atoms of the framework, wherever they are in a frame, so that sites move with thermal
motion and a changing cell. An atom is in the polyhedron if it lies on the inner side of all its faces (as in site
analysis after Morgan, and in Davies's analysis of Li14SiP6). Faces are triangles found once as the convex hull of the
corners in the reference; polyhedra that share the corners of a face share the face, so that nothing lies in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numba import njit
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull, QhullError

from forcewright.analyze.block_average import block_mean
from forcewright.analyze.frames import known_symbol, require_periodic, same_atoms, species_index
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames

_SAME_DISTANCE = 1e-3  # relative: corners and the next atom must differ by more


@dataclass(frozen=True, eq=False)
class Site:
    """A site: its label, the atoms at its corners (n,), and where these are in the reference (n, 3).

    ``corners`` are fractional coordinates of those images of the atoms that surround the site.
    """

    label: str
    vertices: IntArray
    corners: FloatArray


@dataclass(frozen=True, eq=False)
class SiteOccupation(Result):
    """Occupation of S sites with K different labels by the atoms of one species.

    ================  ======  ==========================================================================
    labels            (S,)    label of each site
    occupation        (S,)    mean number of atoms in each site
    factor                    site occupation factor of each label: mean number of atoms in a site of it
    factor_error              its standard error, by blocks
    factor_series     (T,)    the same in each frame
    share                     share of the atoms that is in sites of each label
    unassigned                share of the atoms that is in no site
    kinds             (K,)    the labels, in the order of
    transitions       (K, K)  number of moves from a site of one label (row) to another site (column)
    hops              (H, 3)  site left, site entered, number of moves
    ================  ======  ==========================================================================

    An atom that leaves a site and returns before it enters another has not moved.
    """

    labels: tuple[str, ...]
    occupation: FloatArray
    factor: dict[str, float]
    factor_error: dict[str, float]
    factor_series: dict[str, FloatArray]
    share: dict[str, float]
    unassigned: float
    kinds: tuple[str, ...]
    transitions: IntArray
    hops: IntArray

    def _draw(self, ax: Axes) -> None:
        values = [self.factor[kind] for kind in self.kinds]
        ax.bar(self.kinds, values, yerr=[self.factor_error[kind] for kind in self.kinds], capsize=3)
        ax.set(ylabel="site occupation factor", ylim=(0, None))


def find_polyhedra(
    reference: Structure | Atoms, framework: str | Sequence[str], positions: Mapping[str, ArrayLike],
    vertices: Mapping[str, int],
) -> list[Site]:  # fmt: skip
    """Find the polyhedra of framework atoms around given positions.

    Parameters
    ----------
    reference
        The crystal, in the cell of the simulation and with its atoms in the same order.
    framework
        Species of the framework, such as ``"P"``.
    positions
        Fractional coordinates (n, 3) of the sites of each label.
    vertices
        Number of corners by label: 4 for a tetrahedron, 6 for an octahedron.

    Raises
    ------
    InputError
        If a species does not occur, a position has no clear shell of so many atoms or does not lie within it.
    """
    structure = Structure.from_ase(reference) if isinstance(reference, Atoms) else reference
    require_periodic(structure, "a framework")
    names = [framework] if isinstance(framework, str) else list(framework)
    for name in names:
        known_symbol(name, structure, "framework")
    atoms = np.flatnonzero(species_index(structure, names) >= 0)
    sites = []
    for label, fractions in positions.items():
        if vertices.get(label, 0) < 4:
            number = vertices.get(label, "nothing")
            raise InputError(f"gives {number} for {label!r}; a polyhedron has 4 corners or more", field="vertices")
        points = np.atleast_2d(np.asarray(fractions, dtype=float))
        sites += _around(structure, atoms, label, points, vertices[label])
    return sites


def _around(structure: Structure, atoms: IntArray, label: str, fractions: FloatArray, count: int) -> list[Site]:
    """Return the sites whose corners are the ``count`` atoms nearest to each of the positions."""
    centers = fractions @ structure.cell
    points = np.concatenate([structure.positions[atoms], centers])
    together = Structure(np.ones(len(points), dtype=np.int64), points, structure.cell, structure.pbc)
    cutoff = 1.5 * (structure.volume / len(atoms)) ** (1 / 3)
    while True:
        pairs = find_neighbors(together, cutoff)
        kept = (pairs.indices < len(atoms)) & (pairs.centers >= len(atoms))
        owner = pairs.centers[kept] - len(atoms)
        if np.bincount(owner, minlength=len(centers)).min() > count:
            break
        cutoff *= 1.5
    indices, vectors = pairs.indices[kept], pairs.vectors[kept]
    inverse = np.linalg.inv(structure.cell)
    sites = []
    for number, fraction in enumerate(fractions):
        mine = np.flatnonzero(owner == number)
        lengths = np.linalg.norm(vectors[mine], axis=1)
        order = np.argsort(lengths, kind="stable")
        inside, outside = lengths[order[count - 1]], lengths[order[count]]
        if outside - inside < _SAME_DISTANCE * inside:
            raise InputError(f"{label!r} {number}: its corner {count} is {inside:.3f} Å away and the next atom "
                             f"{outside:.3f} Å; choose another number of corners or another position",
                             field="vertices")  # fmt: skip
        corners = mine[order[:count]]
        site = Site(label, atoms[indices[corners]], fraction + vectors[corners] @ inverse)
        hull = _hull(site, structure.cell)
        if (hull.equations[:, :3] @ centers[number] + hull.equations[:, 3] > 0).any():
            raise InputError(f"{label!r} {number} lies outside the polyhedron of its {count} nearest framework atoms; "
                             "correct the position or the number of corners", field="positions")  # fmt: skip
        sites.append(site)
    return sites


def _hull(site: Site, cell: FloatArray) -> ConvexHull:
    try:
        return ConvexHull(site.corners @ cell)
    except (QhullError, ValueError):
        raise InputError(f"the corners of a site {site.label!r} (atoms {site.vertices.tolist()}) span no volume",
                         field="sites") from None  # fmt: skip


def site_occupation(frames: Frames, sites: Sequence[Site], mobile: str) -> SiteOccupation:
    """Assign the atoms of a species to sites in every frame.

    An atom that is still in its site stays there; one that is in several takes that with the nearest center (corners'
    mean). Framework atoms are followed from the reference on: they may vibrate, and drift as a whole, but must not
    move by more than half a cell between frames.

    Parameters
    ----------
    sites
        From `find_polyhedra`, or made by hand.
    mobile
        Symbol of the species, such as ``"Li"``.

    Raises
    ------
    InputError
        If there are no frames or sites, the atoms change, the species does not occur, or a corner is not an atom.
    """
    if not len(sites):
        raise InputError("there are none; give one or more", field="sites")
    kinds = tuple(dict.fromkeys(site.label for site in sites))
    kind_of = np.array([kinds.index(site.label) for site in sites])
    tally = None
    for snapshot in same_atoms(frames, ordered=True):
        if tally is None:
            require_periodic(snapshot.structure, "a framework")
            known_symbol(mobile, snapshot.structure, "mobile")
            polyhedra = _Polyhedra(sites, snapshot.structure)
            tally = _Tally(np.flatnonzero(species_index(snapshot.structure, [mobile]) == 0), len(sites))
        tally.add(polyhedra.assign(snapshot.structure, tally.atoms, tally.last), kind_of)
    assert tally is not None  # same_atoms raises where there is no frame
    return _summary(tally, tuple(site.label for site in sites), kinds, kind_of)


class _Polyhedra:
    """The sites in the frames of a trajectory, padded to the largest number of corners and faces."""

    def __init__(self, sites: Sequence[Site], structure: Structure) -> None:
        cell = structure.cell
        corners = max(len(site.vertices) for site in sites)
        faces = [_outward_faces(site, cell) for site in sites]
        self.faces = np.zeros((len(sites), max(map(len, faces)), 3), dtype=np.int64)
        self.face_counts = np.array([len(triangles) for triangles in faces])
        self.vertices = np.zeros((len(sites), corners), dtype=np.int64)
        self.corner_counts = np.array([len(site.vertices) for site in sites])
        reference = np.zeros((len(sites), corners, 3))
        for row, (site, triangles) in enumerate(zip(sites, faces, strict=True)):
            if not ((site.vertices >= 0) & (site.vertices < len(structure))).all():
                raise InputError(f"names an atom beyond the {len(structure)} of the frames", field="sites")
            self.faces[row, : len(triangles)] = triangles
            self.vertices[row, : len(site.vertices)] = site.vertices
            reference[row, : len(site.vertices)] = site.corners
        # Atoms of the framework in fractional coordinates, followed from frame to frame, and the images at corners.
        self.fractions = structure.positions @ np.linalg.inv(cell)
        self.images = np.rint(reference - self.fractions[self.vertices])

    def assign(self, structure: Structure, atoms: IntArray, last: IntArray) -> IntArray:
        """Return the site of each atom, -1 for none; ``last`` is tried first."""
        inverse = np.linalg.inv(structure.cell)
        fractions = structure.positions @ inverse
        self.fractions = fractions - np.rint(fractions - self.fractions)
        corners = (self.fractions[self.vertices] + self.images) @ structure.cell
        present = np.arange(corners.shape[1]) < self.corner_counts[:, None]
        centers = np.einsum("scx,sc->sx", corners, present) / self.corner_counts[:, None]
        radii = np.where(present, np.linalg.norm(corners - centers[:, None], axis=2), 0.0).max(axis=1)
        reach = np.floor(radii.max() * np.linalg.norm(inverse, axis=0) + 0.5).astype(np.int64)
        assigned: IntArray = _assign(
            structure.positions[atoms], last, corners, centers, radii, self.faces, self.face_counts, structure.cell,
            inverse, reach,
        )  # fmt: skip
        return assigned


def _outward_faces(site: Site, cell: FloatArray) -> IntArray:
    """Return the triangles (F, 3) of the hull as corners of the site, ordered so that their normals point out."""
    points, hull = site.corners @ cell, _hull(site, cell)
    triangles = np.array(hull.simplices, dtype=np.int64)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    inward = np.einsum("fx,fx->f", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


@njit(cache=True, nogil=True)
def _assign(positions, last, corners, centers, radii, faces, face_counts, cell, inverse, reach):  # type: ignore[no-untyped-def]
    """Return the site of each position (M,), the last one if it still holds, else that of the nearest center, or -1."""
    sites = np.full(len(positions), -1, np.int64)
    image, best = np.empty(3), 0.0
    for m in range(len(positions)):
        first, end = 0, len(centers)
        known = last[m] >= 0
        if known:
            first, end = last[m], last[m] + 1
        while sites[m] < 0:
            for s in range(first, end):
                x = positions[m, 0] - centers[s, 0]
                y = positions[m, 1] - centers[s, 1]
                z = positions[m, 2] - centers[s, 2]
                u = np.rint(x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0])
                v = np.rint(x * inverse[0, 1] + y * inverse[1, 1] + z * inverse[2, 1])
                w = np.rint(x * inverse[0, 2] + y * inverse[1, 2] + z * inverse[2, 2])
                for i in range(-reach[0], reach[0] + 1):
                    for j in range(-reach[1], reach[1] + 1):
                        for k in range(-reach[2], reach[2] + 1):
                            square = 0.0
                            for d in range(3):
                                shift = (u + i) * cell[0, d] + (v + j) * cell[1, d] + (w + k) * cell[2, d]
                                image[d] = positions[m, d] - shift
                                square += (image[d] - centers[s, d]) ** 2
                            if square > radii[s] ** 2 or (sites[m] >= 0 and square >= best):
                                continue
                            if _is_inside(image, corners[s], faces[s], face_counts[s]):
                                sites[m], best = s, square
            if not known:
                break
            known, first, end = False, 0, len(centers)
    return sites


@njit(cache=True, nogil=True)
def _is_inside(point, corners, faces, count):  # type: ignore[no-untyped-def]
    for f in range(count):
        a, b, c = corners[faces[f, 0]], corners[faces[f, 1]], corners[faces[f, 2]]
        bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        cx, cy, cz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        normal = (
            (by * cz - bz * cy) * (point[0] - a[0])
            + (bz * cx - bx * cz) * (point[1] - a[1])
            + (bx * cy - by * cx) * (point[2] - a[2])
        )
        if normal > 0:
            return False
    return True


class _Tally:
    """Counts over the frames so far."""

    def __init__(self, atoms: IntArray, sites: int) -> None:
        self.atoms = atoms
        self.last = np.full(len(atoms), -1, dtype=np.int64)  # the last site that each atom was in
        self.occupied = np.zeros(sites)
        self.by_kind: list[FloatArray] = []  # atoms in sites of each label, frame by frame
        self.moves: Counter[tuple[int, int]] = Counter()

    def add(self, assigned: IntArray, kind_of: IntArray) -> None:
        there = assigned[assigned >= 0]
        self.occupied += np.bincount(there, minlength=len(self.occupied))
        self.by_kind.append(np.bincount(kind_of[there], minlength=int(kind_of.max()) + 1).astype(float))
        moved = (assigned >= 0) & (self.last >= 0) & (assigned != self.last)
        self.moves.update(zip(self.last[moved].tolist(), assigned[moved].tolist(), strict=True))
        self.last = np.where(assigned >= 0, assigned, self.last)


def _summary(tally: _Tally, labels: tuple[str, ...], kinds: tuple[str, ...], kind_of: IntArray) -> SiteOccupation:
    inside = np.array(tally.by_kind)  # (T, K)
    frames = len(inside)
    series = inside / np.bincount(kind_of)
    hops = np.array([(*pair, count) for pair, count in sorted(tally.moves.items())], dtype=np.int64).reshape(-1, 3)
    transitions = np.zeros((len(kinds), len(kinds)), dtype=np.int64)
    np.add.at(transitions, (kind_of[hops[:, 0]], kind_of[hops[:, 1]]), hops[:, 2])
    share = inside.mean(axis=0) / len(tally.atoms)
    return SiteOccupation(
        labels=labels, occupation=tally.occupied / frames,
        factor={kind: float(series[:, k].mean()) for k, kind in enumerate(kinds)},
        factor_error={kind: block_mean(series[:, k]).error if frames > 1 else np.nan for k, kind in enumerate(kinds)},
        factor_series={kind: series[:, k].copy() for k, kind in enumerate(kinds)},
        share={kind: float(share[k]) for k, kind in enumerate(kinds)},
        unassigned=max(0.0, 1.0 - float(share.sum())), kinds=kinds, transitions=transitions, hops=hops,
    )  # fmt: skip
