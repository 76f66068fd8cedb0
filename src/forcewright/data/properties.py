"""Properties beside energies: what a target is, and the set of values that files hold of it.

A `Target` says what a property is: its irreps or its energy grid, per atom or per structure, its unit, and where it
stands in a file. Values are Cartesian, as on file, in the unit of the file:

==============  ===========  ======================================================================
irreps          components   meaning
==============  ===========  ======================================================================
0e              1            scalar: a charge, an isotropic shielding
1o              3            polar vector: a dipole
1e              3            axial vector: a magnetic moment, the antisymmetric part of a shielding
0e+2e           9            symmetric tensor: a polarizability
2e              9            symmetric, traceless tensor: an electric field gradient, a quadrupole
0e+1e+2e        9            any tensor, row by row (xx xy xz yx yy ...): a magnetic shielding
==============  ===========  ======================================================================

Tensors of odd parity (0o, 0o+2o, ...) have the same numbers of components. A property on a grid has one number for each
point: a density of states.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy.ndimage import gaussian_filter1d

from forcewright.configs import StrictModel, did_you_mean
from forcewright.data.eigenvalues import Eigenvalues
from forcewright.data.property_units import require_unit, unit_factor
from forcewright.errors import InputError
from forcewright.structure import Dataset, FloatArray, Structure

#: Density of states at the Fermi level (states/eV per atom) below which a structure is taken for gapped.
GAPPED = 0.05
_MOST_POINTS = 100_000
_IRREP = re.compile(r"(?:1x)?([0-9]+)([eo])")

Per = Literal["atom", "structure"]
Zero = Literal["absolute", "fermi", "band_edge"]


class Grid(StrictModel):
    """Equally spaced energies in eV, both ends included."""

    low: float
    """First energy (eV)."""
    high: float
    """Last energy (eV)."""
    step: float = Field(gt=0)
    """Distance of two energies (eV)."""
    zero: Zero = "absolute"
    """What energies count from where a density of states is made of eigenvalues: nothing, the Fermi level of the file,
    or the highest occupied state."""

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        steps = (self.high - self.low) / self.step
        if self.high <= self.low:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g})")
        if steps > _MOST_POINTS:
            raise ValueError(f"has {steps:.3g} steps; at most {_MOST_POINTS} are allowed")
        if abs(steps - round(steps)) > 1e-6 * max(steps, 1.0):
            nearest = self.low + max(round(steps), 1) * self.step
            raise ValueError(f"from {self.low:g} to {self.high:g} there are {steps:.6g} steps of {self.step:g}, not a "
                             f"whole number; write high: {nearest:g}")  # fmt: skip
        return self

    @classmethod
    def spanning(cls, low: float, step: float, count: int, zero: Zero = "absolute") -> Grid:
        """Return the grid of ``count`` energies from ``low`` at distances ``step``, in eV.

        Raises
        ------
        InputError
            If they are not at least four at a positive distance.
        """
        if not (np.isfinite([low, step]).all() and step > 0 and 4 <= count <= _MOST_POINTS):
            raise InputError(
                f"a grid has 4 to {_MOST_POINTS} energies at a positive distance, not {count} at {step} eV from "
                f"{low} eV", field="grid",
            )  # fmt: skip
        return cls(low=low, high=low + step * (count - 1), step=step, zero=zero)

    @classmethod
    def of(cls, points: FloatArray) -> Grid:
        """Return the grid of equally spaced energies (m,); `InputError` if they are not."""
        points = np.asarray(points, dtype=np.float64)
        steps = np.diff(points)
        if len(points) < 4 or not np.allclose(steps, steps.mean(), rtol=1e-4, atol=1e-9):
            raise InputError("energies are not equally spaced; interpolate the density to a grid", field="grid")
        return cls.spanning(float(points[0]), float((points[-1] - points[0]) / (len(points) - 1)), len(points))

    @property
    def count(self) -> int:
        """Number of points."""
        return round((self.high - self.low) / self.step) + 1

    @property
    def points(self) -> FloatArray:
        """The energies (count,) in eV."""
        return np.linspace(self.low, self.high, self.count)

    def smear(self, densities: FloatArray, width: float) -> FloatArray:
        """Return densities (..., count) folded with a Gaussian of standard deviation ``width`` in eV.

        Beyond its ends a density is taken for its own reflection, which leaves its sum as it is.
        """
        if not width > 0:
            raise InputError(f"a smearing is above 0 eV, not {width}", field="smearing_eV")
        return np.asarray(gaussian_filter1d(densities, width / self.step, axis=-1, mode="reflect", truncate=8.0))


class EigenvalueKeys(StrictModel):
    """Where the eigenvalues of a frame stand: arrays of ``file``, or values of the frame.

    ``{frame}`` in a name is the number of the frame in its file, from 0. Where a key is left open, the one that
    `forcewright label` writes is taken if the frame has it: k_weights, occupations, fermi_level, electrons.
    """

    values: str = "eigenvalues"
    """Eigenvalues in eV: (spin, k-point, band), (k-point, band) or (band)."""
    weights: str | None = None
    """Weights of the k-points; equal where there are none."""
    occupations: str | None = None
    """Occupations, shaped as the eigenvalues; at most 1 for each state of a spin channel."""
    fermi: str | None = None
    """Fermi level in eV."""
    electrons: str | None = None
    """Number of electrons."""


class Target(StrictModel):
    """One property: what it is, and where it stands in a file."""

    name: str = Field(min_length=1, max_length=60)
    """Name of the property; `KNOWN` has defaults for some."""
    key: str | None = None
    """Key of the values: of a frame's info or arrays, or of an array in an npz file; the name where it is open. In
    ``file``, ``{frame}`` in it stands for the number of the frame."""
    irreps: str | None = None
    """What rotations do to it, as in 0e+1e+2e; see `forcewright.data.properties`."""
    grid: Grid | None = None
    """Energies of a property that is a function of energy, in place of irreps."""
    per: Per = "structure"
    """Whether every atom has a value, or the structure."""
    reduce: Literal["sum", "mean"] = "sum"
    """How the value of a structure comes of those of its atoms."""
    unit: str | None = None
    """Unit of the values on file."""
    mask: str | None = None
    """Key of a truth value for each atom: which atoms have a value."""
    smearing_eV: float | None = Field(default=None, gt=0)
    """Standard deviation (eV) of the Gaussian that a density of states made of eigenvalues is smeared with."""
    file: Path | None = None
    """npz file of the values, frame by frame; ``{stem}`` in it is the name of the file of structures without ending,
    beside which it then lies."""
    eigenvalues: EigenvalueKeys | None = None
    """Where eigenvalues stand that the density of states is made of."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, content: Any) -> Any:
        known = KNOWN.get(str(content.get("name")), {}) if isinstance(content, Mapping) else {}
        if not known:
            return content
        chosen = {key: value for key, value in known.items() if not (key == "irreps" and content.get("grid"))}
        return {**chosen, **content}

    @field_validator("irreps")
    @classmethod
    def _known_irreps(cls, text: str | None) -> str | None:
        if text is None:
            return None
        orders, parity = parse_irreps(text)
        return "+".join(f"{order}{parity}" for order in orders)

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, text: str | None) -> str | None:
        if text is not None:
            require_unit(text)
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.irreps is None) == (self.grid is None):
            what = "both irreps and a grid" if self.grid else "neither irreps nor a grid"
            known = "" if self.grid else f", or a name with defaults: {did_you_mean(self.name, sorted(KNOWN))}"
            raise ValueError(f"the property {self.name!r} has {what}; give the one it has{known}")
        if self.mask is not None and self.per != "atom":
            raise ValueError("a mask says which atoms have a value; it needs per: atom")
        if self.grid is None and (self.smearing_eV is not None or self.eigenvalues is not None):
            raise ValueError("smearing_eV and eigenvalues belong to a density of states; give its grid")
        if self.eigenvalues is not None and self.smearing_eV is None:
            raise ValueError("eigenvalues become a density of states by smearing; give smearing_eV")
        if self.name in _MEANINGS and self.irreps is not None:
            kind = str(KNOWN[self.name]["irreps"])
            orders, parity = parse_irreps(kind)
            if parity != self.parity or not set(self.orders) <= set(orders):
                raise ValueError(f"{self.name} is {_MEANINGS[self.name]}, irreps {kind}, not {self.irreps}")
        if self.unit is not None and self.name in KNOWN:
            try:
                unit_factor(self.unit, KNOWN[self.name]["unit"])
            except InputError as error:
                raise ValueError(f"{error.problem}; {self.name} is measured in {KNOWN[self.name]['unit']}") from None
        return self

    @property
    def where(self) -> str:
        """The key that the values stand under."""
        return self.key or self.name

    @property
    def orders(self) -> tuple[int, ...]:
        """Orders λ of the irreps, ascending; (0,) for each point of a grid."""
        return (0,) if self.irreps is None else parse_irreps(self.irreps)[0]

    @property
    def parity(self) -> Literal["e", "o"]:
        """Parity of all irreps: e for even, o for odd."""
        return "e" if self.irreps is None else parse_irreps(self.irreps)[1]

    @property
    def components(self) -> int:
        """Cartesian numbers on file for an atom or a structure."""
        if self.grid is not None:
            return self.grid.count
        alone = {0: 1, 1: 3, 2: 9}
        return alone[self.orders[0]] if len(self.orders) == 1 else 9


#: What usual properties are. Further keys of a target go before these.
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "dipole": {"irreps": "1o", "per": "structure", "reduce": "sum", "unit": "e*Å"},
    "polarizability": {"irreps": "0e+2e", "per": "structure", "reduce": "sum", "unit": "Å^3"},
    "quadrupole": {"per": "structure", "reduce": "sum", "unit": "e*Å^2", "irreps": "2e"},
    "shielding": {"key": "ms", "irreps": "0e+1e+2e", "per": "atom", "unit": "ppm"},
    "efg": {"irreps": "2e", "per": "atom", "unit": "a.u."},
    "born_charges": {"irreps": "0e+1e+2e", "per": "atom", "unit": "e"},
    "charges": {"irreps": "0e", "per": "atom", "unit": "e"},
    "dos": {"per": "structure", "reduce": "sum", "unit": "1/eV"},
}  # fmt: skip
_MEANINGS = {
    "dipole": "a polar vector", "polarizability": "a symmetric tensor", "shielding": "a tensor that is not symmetric",
    "efg": "a symmetric tensor without trace", "charges": "a scalar",
}  # fmt: skip


def parse_irreps(text: str) -> tuple[tuple[int, ...], Literal["e", "o"]]:
    """Return the orders of a sum of irreps, ascending, and their parity.

    Raises
    ------
    ValueError
        If it is no such sum, or no Cartesian vector or tensor consists of it.
    """
    words = re.sub(r"\s+", "", text).split("+")
    parts = [_IRREP.fullmatch(word) for word in words]
    if not all(parts):
        raise ValueError("expected a sum of irreps such as 0e, 1o, 2e or 0e+1e+2e: an order and e or o, each once")
    orders = [int(part[1]) for part in parts if part]
    parities = {part[2] for part in parts if part}
    if max(orders) > 2:
        raise ValueError("orders up to 2 are known: scalars, vectors and tensors of rank two")
    if len(set(orders)) < len(orders):
        raise ValueError("names an irrep twice; make a target of each property")
    if len(parities) > 1:
        hint = "; the antisymmetric part of a tensor of rank two is an axial vector, 1e: write 0e+1e+2e"
        raise ValueError(f"mixes even and odd parity{hint if 1 in orders and len(orders) > 1 else ''}")
    return tuple(sorted(orders)), "e" if "e" in parities else "o"


@dataclass(frozen=True, eq=False)
class PropertySet:
    """Values of a property, frame by frame.

    Attributes
    ----------
    target
        What they are.
    dataset
        The frames that have a value, with their other labels.
    values
        For each frame an array (components,), or (N, components) for a property per atom: Cartesian, as on file.
    mask
        For each frame which atoms have a value, (N,); all true where there is no mask, or a value per structure.
    eigenvalues
        What a density of states was made of; None for frames without.
    left_out
        What was wrong with each frame that was left out.
    """

    target: Target
    dataset: Dataset
    values: tuple[FloatArray, ...]
    mask: tuple[NDArray[np.bool_], ...]
    eigenvalues: tuple[Eigenvalues | None, ...] = ()
    left_out: tuple[InputError, ...] = ()

    def __post_init__(self) -> None:
        if not self.eigenvalues:
            object.__setattr__(self, "eigenvalues", (None,) * len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"PropertySet({self.target.name!r}, {len(self)} frames, {self.count} values)"

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structures of the frames."""
        return self.dataset.structures

    @property
    def frames(self) -> tuple[tuple[str, int], ...]:
        """File and number of each frame."""
        parts = [frame.origin.rpartition("#") for frame in self.dataset]
        return tuple((file, int(number)) for file, _, number in parts)

    @property
    def count(self) -> int:
        """Number of values: of atoms that are not masked, or of structures."""
        return sum(int(mask.sum()) for mask in self.mask) if self.target.per == "atom" else len(self)

    def __getitem__(self, chosen: slice | Sequence[int] | NDArray[Any]) -> PropertySet:
        """Return the set of some frames, by a slice, indices or a boolean mask."""
        indices = np.arange(len(self))[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        return replace(
            self, dataset=self.dataset[indices], values=tuple(self.values[i] for i in indices),
            mask=tuple(self.mask[i] for i in indices), eigenvalues=tuple(self.eigenvalues[i] for i in indices),
        )  # fmt: skip

    def stacked(self) -> FloatArray:
        """Return all values (count, components): of the atoms that are not masked, or of the structures."""
        if self.target.per == "structure":
            return np.array(self.values).reshape(len(self), self.target.components)
        rows = [values[mask] for values, mask in zip(self.values, self.mask, strict=True)]
        return np.concatenate(rows) if rows else np.zeros((0, self.target.components))

    def in_unit(self, unit: str) -> PropertySet:
        """Return the values in another unit.

        Raises
        ------
        InputError
            If the target has no unit, or one cannot be converted to the other.
        """
        if self.target.unit is None:
            raise InputError(f"the unit of {self.target.name} on file is not known; give the target a unit",
                             field="unit")  # fmt: skip
        factor = unit_factor(self.target.unit, unit)
        target = self.target.model_copy(update={"unit": unit})
        return replace(self, target=target, values=tuple(values * factor for values in self.values))


def tensor_parts(values: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the order (0, 1, 2) and that part (..., 3, 3) of tensors (..., 9) or (..., 3, 3); their sum is the tensor.

    Isotropic part (trace/3)·1, antisymmetric part (T - Tᵀ)/2, and what is left: symmetric without trace.
    """
    tensors = np.asarray(values, dtype=np.float64)
    tensors = tensors if tensors.shape[-2:] == (3, 3) else tensors.reshape(*tensors.shape[:-1], 3, 3)
    transposed = np.swapaxes(tensors, -1, -2)
    isotropic = np.trace(tensors, axis1=-2, axis2=-1)[..., None, None] / 3 * np.eye(3)
    yield 0, isotropic
    yield 1, (tensors - transposed) / 2
    yield 2, (tensors + transposed) / 2 - isotropic
