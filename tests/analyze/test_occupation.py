"""Occupation of the tetrahedra and octahedra of an fcc anion lattice, which fill space."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

A = 6.0
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
OCTAHEDRA = np.array([[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
TETRAHEDRA = np.array([[x, y, z] for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)])
SHEAR = np.array([[1.0, 0, 0], [0.35, 0.95, 0], [-0.2, 0.3, 1.05]])


def repeat(points: np.ndarray, times: int) -> np.ndarray:
    """Fractional coordinates of the points of a cell in a supercell."""
    cells = np.stack(np.meshgrid(*[np.arange(times)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    return ((points + cells) / times).reshape(-1, 3)


def crystal(times: int, shape: np.ndarray | None = None) -> tuple[Structure, dict[str, np.ndarray]]:
    cell = A * times * (np.eye(3) if shape is None else shape)
    anions = repeat(FCC, times)
    structure = Structure([16] * len(anions), anions @ cell, cell, (True,) * 3)
    return structure, {"T": repeat(TETRAHEDRA, times), "O": repeat(OCTAHEDRA, times)}


def with_lithium(structure: Structure, lithium: np.ndarray) -> Structure:
    numbers = np.concatenate([structure.numbers, np.full(len(lithium), 3)])
    return Structure(numbers, np.concatenate([structure.positions, lithium]), structure.cell, structure.pbc)


def moved(structure: Structure, positions: np.ndarray, scale: float = 1.0, fold: bool = True) -> Snapshot:
    """Return the atoms at other positions, in a cell that has been scaled, folded into it."""
    cell = structure.cell * scale
    fractions = positions * scale @ np.linalg.inv(cell)
    return Snapshot(
        Structure(
            structure.numbers, (fractions - np.floor(fractions) if fold else fractions) @ cell, cell, structure.pbc
        )
    )


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("shape", [np.eye(3), SHEAR], ids=["cubic", "triclinic"])
def test_known_occupation_with_noise_and_a_changing_cell(times: int, shape: np.ndarray) -> None:
    rng = np.random.default_rng(times)
    anions, positions = crystal(times)
    unsheared = analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 6})
    # A shear moves corners with the cell: fractional coordinates, and so the sites, stay what they are.
    anions = crystal(times, shape)[0]
    kind = np.array([site.label for site in unsheared])
    chosen = np.concatenate([rng.choice(np.flatnonzero(kind == "T"), 6 * times, replace=False),
                             rng.choice(np.flatnonzero(kind == "O"), 2 * times, replace=False)])  # fmt: skip
    middles = np.array([site.corners.mean(axis=0) for site in unsheared])[chosen] @ anions.cell
    rest = with_lithium(anions, middles)
    frames = [
        moved(rest, rest.positions + rng.normal(0, 0.12, rest.positions.shape) + 0.01 * k, 1 + 0.01 * rng.normal())
        for k in range(40)
    ]
    found = analyze.site_occupation(frames, unsheared, "Li")
    expected = np.zeros(len(unsheared))
    expected[chosen] = 1.0
    np.testing.assert_array_equal(found.occupation, expected)
    assert found.factor == pytest.approx({"T": 6 * times / (8 * times**3), "O": 2 * times / (4 * times**3)})
    assert found.share == pytest.approx({"T": 0.75, "O": 0.25})
    assert found.unassigned == 0.0 and not found.transitions.any()


def test_tetrahedra_and_octahedra_fill_space_as_their_volumes_say() -> None:
    """Of the volume of the fcc lattice a third lies in tetrahedra; with moved anions nothing lies in between."""
    rng = np.random.default_rng(0)
    anions, positions = crystal(2)
    sites = analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 6})
    lithium = rng.random((4000, 3)) @ anions.cell
    still = with_lithium(anions, lithium)
    found = analyze.site_occupation([Snapshot(still)], sites, "Li")
    assert found.unassigned == pytest.approx(0.0, abs=1e-12)
    assert found.share["T"] == pytest.approx(1 / 3, abs=3 * np.sqrt(2 / 9 / 4000))
    shaken = np.concatenate([anions.positions + rng.normal(0, 0.15, anions.positions.shape), lithium])
    found = analyze.site_occupation([moved(still, still.positions), moved(still, shaken)], sites, "Li")
    assert found.unassigned < 0.03  # octahedra that are not convex leave slivers


def test_moves_between_sites() -> None:
    anions, positions = crystal(2)
    sites = analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 6})
    middles = np.array([site.corners.mean(axis=0) for site in sites]) @ anions.cell
    start = next(k for k, site in enumerate(sites) if site.label == "T")
    gaps = middles - middles[start]
    gaps -= np.rint(gaps @ np.linalg.inv(anions.cell)) @ anions.cell
    distance = np.linalg.norm(gaps, axis=1)
    octahedron = next(k for k in np.argsort(distance) if sites[k].label == "O")
    other = next(k for k in np.argsort(distance) if sites[k].label == "T" and distance[k] > 1)
    rest = with_lithium(anions, middles[[start]])
    path = [start, start, octahedron, octahedron, start, other, other, other]
    frames = []
    for site in path:
        positions_now = np.array(rest.positions)
        positions_now[-1] = middles[start] + gaps[site]
        frames.append(moved(rest, positions_now))
    found = analyze.site_occupation(frames, sites, "Li")
    assert found.kinds == ("T", "O")
    np.testing.assert_array_equal(found.transitions, [[1, 1], [1, 0]])
    expected = sorted([(start, octahedron, 1), (octahedron, start, 1), (start, other, 1)])
    assert found.hops.tolist() == [list(hop) for hop in expected]
    assert found.factor["T"] == pytest.approx(6 / 8 / 64) and found.share["O"] == pytest.approx(2 / 8)
    np.testing.assert_allclose(found.factor_series["O"], np.array([0, 0, 1, 1, 0, 0, 0, 0]) / 32)
    assert len(found.plot().patches) == 2


def test_framework_that_drifts_through_the_cell() -> None:
    anions, positions = crystal(2)
    sites = analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 6})
    rest = with_lithium(anions, positions["O"][:3] @ anions.cell)
    frames = [moved(rest, rest.positions + 0.9 * k * np.array([1.0, 0.7, -0.4])) for k in range(60)]
    found = analyze.site_occupation(frames, sites, "Li")
    assert found.share == pytest.approx({"T": 0.0, "O": 1.0}) and not len(found.hops)


def test_mistakes_get_a_sentence() -> None:
    anions, positions = crystal(2)
    with pytest.raises(InputError, match="clear|another number of corners"):
        analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 5})
    with pytest.raises(InputError, match="outside"):
        analyze.find_polyhedra(anions, "S", {"T": [[0.02, 0.011, 0.005]]}, {"T": 4})
    with pytest.raises(InputError, match="the frames hold S"):
        analyze.find_polyhedra(anions, "P", positions, {"T": 4, "O": 6})
    with pytest.raises(InputError, match="4 corners or more"):
        analyze.find_polyhedra(anions, "S", positions, {"T": 4})
    sites = analyze.find_polyhedra(anions, "S", positions, {"T": 4, "O": 6})
    with pytest.raises(InputError, match="the frames hold S"):
        analyze.site_occupation([anions], sites, "Li")
    with pytest.raises(InputError, match="none"):
        analyze.site_occupation([anions], [], "Li")
    with pytest.raises(InputError, match="no frame"):
        analyze.site_occupation([], sites, "Li")
    flat = analyze.Site("flat", np.arange(4), np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]) / 4)
    with pytest.raises(InputError, match="span no volume"):
        analyze.site_occupation([with_lithium(anions, np.zeros((1, 3)))], [flat], "Li")
