"""What can be wrong with the values of a property: symmetry, origin, placeholders, and what lies beside a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Real

import numpy as np

from forcewright.data.findings import Finding, locate
from forcewright.data.properties import GAPPED, Grid, PropertySet, Target, tensor_parts
from forcewright.data.property_units import require_unit
from forcewright.errors import InputError
from forcewright.structure import FloatArray

#: Keys under which frames say their total charge, in lower case.
_CHARGES = ("charge", "total_charge", "net_charge", "q_total")
#: A part of a tensor that its irreps have none of may be this large, relative to the tensor and to the largest of the
#: frame: codes print a few digits, and leave some asymmetry.
_ASYMMETRY, _OF_LARGEST = 1e-2, 1e-4
_PART = {0: "a trace", 1: "an antisymmetric part", 2: "a symmetric part"}


def require_symmetry(values: FloatArray, target: Target) -> None:
    """Raise `InputError` if tensors (n, 9) have a part that their irreps have none of, naming the irreps they have."""
    if target.grid is not None or target.components != 9 or not len(values):
        return
    lengths = np.linalg.norm(values, axis=1)
    parts = {order: np.linalg.norm(part, axis=(1, 2)) for order, part in tensor_parts(values)}
    allowed = _ASYMMETRY * lengths + _OF_LARGEST * lengths.max()
    present = [order for order in parts if (parts[order] > allowed).any()]
    if not (extra := [order for order in present if order not in target.orders]):
        return
    worst = int((parts[extra[0]] - allowed).argmax())
    where = f" of atom {worst}" if target.per == "atom" else ""
    irreps = "+".join(f"{order}{target.parity}" for order in sorted({*present, *target.orders}))
    raise InputError(
        f"the tensor{where} has {_PART[extra[0]]} of {parts[extra[0]][worst]:.3g} beside a length of "
        f"{lengths[worst]:.3g}, and irreps {target.irreps} have none: write irreps {irreps}, or correct the file",
        field=target.where,
    )


def check_property(values: PropertySet) -> Iterator[Finding]:
    """Yield what makes the values of a property doubtful."""
    for check in _CHECKS:
        yield from check(values)


def _check_symmetry(values: PropertySet) -> Iterator[Finding]:
    """Yield that tensors have less than their irreps say."""
    target, stacked = values.target, values.stacked()
    if target.grid is not None or target.components != 9 or not len(stacked):
        return
    length = np.linalg.norm(stacked, axis=1).max()
    missing = [
        order for order, part in tensor_parts(stacked)
        if order in target.orders and np.linalg.norm(part, axis=(1, 2)).max() <= 1e-9 * length
    ]  # fmt: skip
    if missing and length:
        left = "+".join(f"{order}{target.parity}" for order in target.orders if order not in missing)
        message = f"no value has {' or '.join(_PART[order] for order in missing)}; was it taken off? Irreps {left} do"
        yield Finding("note", "part of tensor missing", message, field=target.where)


def _is_dipole(target: Target) -> bool:
    if target.orders != (1,) or target.parity != "o" or target.per != "structure":
        return False
    return target.name == "dipole" or (target.unit is not None and require_unit(target.unit)[0] == "dipole")


def _check_origin(values: PropertySet) -> Iterator[Finding]:
    """Yield that the dipoles of charged and of periodic systems are not defined by the structure alone."""
    if not _is_dipole(values.target):
        return
    charged, odd, periodic = [], [], []
    for index, (structure, labels, _) in enumerate(values.dataset):
        stated = [value for key, value in labels.info.items() if key.lower() in _CHARGES and isinstance(value, Real)]
        if stated and stated[0]:
            charged.append(index)
        elif not stated and int(structure.numbers.sum()) % 2:
            odd.append(index)
        if structure.pbc.any():
            periodic.append(index)
    depends = "depends on the origin; count it from the center of mass or of nuclear charge, in every frame alike"
    for severity, code, indices, message in (
        ("warning", "charged dipole", charged, f"the dipole of a charged system {depends}"),
        ("note", "charged dipole", odd, f"an odd number of electrons, unless it is an ion, whose dipole {depends}"),
        ("note", "periodic dipole", periodic, "the dipole of a periodic cell is defined up to multiples of e times a "
         "lattice vector; make sure that all frames follow one branch"),
    ):  # fmt: skip
        if indices:
            said = f"{message} ({len(indices)} of {len(values)} frames, this is the first)"
            where = locate(values.dataset[indices[0]], indices[0])
            yield Finding(severity, code, said, field=values.target.where, **where)  # type: ignore[arg-type]


def _check_placeholders(values: PropertySet) -> Iterator[Finding]:
    """Yield that atoms, or structures, have zeros alone."""
    target = values.target
    blank = [not rows[mask].any(axis=-1).all() if target.per == "atom" else not rows.any()
             for rows, mask in zip(values.values, values.mask, strict=True)]  # fmt: skip
    stacked = values.stacked()
    if target.components == 1 or not any(blank) or not stacked.any():
        return
    count = int((~stacked.any(axis=1)).sum())
    who = "atoms" if target.per == "atom" else "structures"
    hint = "name a mask of the atoms that have a value" if target.per == "atom" else "leave them out"
    message = (
        f"{count} of {len(stacked)} {who} hold zeros alone, as a placeholder does; this is the first frame: {hint}"
    )
    first = blank.index(True)
    yield Finding("warning", "placeholder", message, field=target.where, **locate(values.dataset[first], first))


def _check_twins(values: PropertySet) -> Iterator[Finding]:
    """Yield the same structure with another value."""
    first: dict[str, int] = {}
    for index, structure in enumerate(values.structures):
        twin = first.setdefault(structure.content_hash, index)
        if twin == index:
            continue
        difference = float(np.abs(values.values[index] - values.values[twin]).max())
        if difference > 1e-4 * max(float(np.abs(values.values[twin]).max()), 1e-300):
            message = (
                f"is the same structure as {'{file}, frame {frame}'.format(**locate(values.dataset[twin], twin))}, and "
                f"its value differs by {difference:.3g}; keep the right one"
            )
            where = locate(values.dataset[index], index)
            yield Finding("warning", "conflicting values", message, field=values.target.where, **where)


def _check_gaps(values: PropertySet, grid: Grid) -> Iterator[Finding]:
    """Yield that energies count from the Fermi level of structures that have no states there."""
    if grid.zero != "fermi" or values.target.per != "structure" or not grid.low < 0.0 < grid.high:
        return
    atoms = [1 if values.target.reduce == "mean" else len(structure) for structure in values.structures]
    points = grid.points
    empty = [index for index, (density, count) in enumerate(zip(values.values, atoms, strict=True))
             if density.any() and np.interp(0.0, points, density) < GAPPED * count]  # fmt: skip
    if empty:
        message = (
            f"{len(empty)} of {len(values)} structures have next to no states at the Fermi level, which a gap leaves "
            "undetermined: their energies do not compare (this is the first); in a study, reference: filling or "
            "band_edge does not depend on it"
        )
        where = locate(values.dataset[empty[0]], empty[0])
        yield Finding("note", "gap at zero", message, field=values.target.where, **where)


def _check_grid(values: PropertySet) -> Iterator[Finding]:
    """Yield what a grid of energies cuts off, and densities that are negative."""
    target, grid = values.target, values.target.grid
    if grid is None:
        return
    if target.smearing_eV is not None and target.smearing_eV < grid.step:
        message = f"the smearing of {target.smearing_eV:g} eV is finer than the grid of {grid.step:g} eV resolves"
        yield Finding("warning", "coarse grid", message, field="smearing_eV")
    yield from _check_gaps(values, grid)
    for index, (density, states) in enumerate(zip(values.values, values.eigenvalues, strict=True)):
        where = locate(values.dataset[index], index)
        if density.min() < -1e-2 * max(density.max(), 1e-300):
            message = f"a density of states of {density.min():.3g} is negative"
            yield Finding("warning", "negative density", message, field=target.where, **where)
        if states is None or target.smearing_eV is None:
            continue
        zero = states.zero_of(grid.zero)
        below = float(states.cumulative(np.array([grid.low]), target.smearing_eV, zero)[0])
        if below > 1e-2:
            message = f"{below:.3g} electrons lie below the grid, which begins at {grid.low:g} eV; begin lower"
            yield Finding("warning", "states below the grid", message, field=target.where, **where)
        if states.electrons is not None and states.highest_occupied() - zero > grid.high:
            message = f"the grid ends at {grid.high:g} eV, below the highest occupied state; end higher"
            yield Finding("warning", "grid ends too low", message, field=target.where, **where)


def _check_unit(values: PropertySet) -> Iterator[Finding]:
    if values.target.unit is None:
        message = "the target has no unit; results keep that of the file, whatever it is"
        yield Finding("note", "unit not stated", message, field="unit")


_CHECKS: tuple[Callable[[PropertySet], Iterator[Finding]], ...] = (
    _check_symmetry, _check_origin, _check_placeholders, _check_twins, _check_grid, _check_unit,
)  # fmt: skip
