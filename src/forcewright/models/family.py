"""What a family of potentials is: one typed record, and hyperparameters that fit by themselves or have a basis.

A family is a folder of `forcewright.models` (or a package of somebody else, see `forcewright.models.family_of`) that
offers one `Family`. Its hyperparameters are a frozen pydantic model of one of two kinds:

- `LinearHyperparameters`: the energy is a linear combination of the functions of a `Basis`. Normal equations, weights,
  ridge, cross-validation and posterior are the same for all of them (`forcewright.fitting`).
- `FittedHyperparameters`: the family has a fit of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from forcewright.configs import StrictModel
from forcewright.errors import MissingExtraError
from forcewright.models.refinement import Refinement
from forcewright.potential import Basis, Potential
from forcewright.structure import Dataset, FloatArray


class Hyperparameters(StrictModel):
    """Hyperparameters as they stand under ``model:`` in a config; a range may stand in the place of every number."""

    earlier_defaults: ClassVar[Mapping[str, object]] = {}
    """Defaults that earlier versions had: their studies go on with them."""

    kind: str
    """The family."""

    @classmethod
    def with_data(cls, content: Mapping[str, object], train: Dataset) -> dict[str, object]:
        """Return a model's config with what the training data settle in it; by default nothing.

        Parameters
        ----------
        content
            The model's config; search ranges may stand in it.
        train
            All training data.
        """
        del train
        return dict(content)

    @classmethod
    def fitted_labels(cls, content: Mapping[str, object]) -> tuple[str, ...] | None:
        """Return which of energy, forces and stress a fit takes where they are, and potentials predict.

        None where that is not known; stresses then have no part in choosing hyperparameters unless asked for.

        Parameters
        ----------
        content
            The model's config; search ranges may stand in it.
        """
        del content
        return None

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite for a potential with these hyperparameters, by a short key.

        Parameters
        ----------
        graded
            Whether extrapolation grades were computed.
        """
        del graded
        return {}


@dataclass(frozen=True)
class Alternative:
    """One way to settle what a model leaves open.

    Attributes
    ----------
    words
        What it is called.
    settled
        What it settles in the model's config.
    tried
        The model's config that is fitted to a few frames to judge it.
    """

    words: str
    settled: Mapping[str, object]
    tried: Mapping[str, object]


@dataclass(frozen=True)
class Pruning:
    """How functions are left out of a basis that is `forcewright.potential.Prunable`.

    Attributes
    ----------
    products
        Cost that is kept, in the units of the basis.
    gamma
        Exponent of the cost that saliencies are divided by.
    """

    products: int
    gamma: float


class LinearHyperparameters(Hyperparameters, ABC):
    """Hyperparameters of a family whose energy is linear in its coefficients."""

    @classmethod
    def fitted_labels(cls, content: Mapping[str, object]) -> tuple[str, ...]:
        """Return all labels: rows of the design know them."""
        del content
        return ("energy", "forces", "stress")

    @classmethod
    def alternatives(cls, content: Mapping[str, object]) -> list[Alternative]:
        """Return the ways to settle what a model's config leaves open, of which short fits choose; by default none.

        Parameters
        ----------
        content
            The model's config, with what the training data settle in it; search ranges may stand in it.
        """
        del content
        return []

    @abstractmethod
    def basis(self, species: Sequence[int]) -> Basis:
        """Return the basis for given species (atomic numbers)."""

    @abstractmethod
    def potential(
        self, basis: Basis, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, object] | None = None,
    ) -> Potential:  # fmt: skip
        """Return the potential of fitted coefficients.

        Parameters
        ----------
        basis
            What `basis` returned, or a selection of it.
        coefficients
            (p,), or (p, P) where a refinement fitted several densities.
        energies
            Energy in eV of an isolated atom of each species.
        covariance
            Posterior covariance of the coefficients (p, p), or of the constants of the S species and the coefficients
            (S + p, S + p).
        provenance
            What the potential remembers of its fit, as plain data.
        """

    def pruning(self) -> Pruning | None:
        """Return how the basis is pruned; None where all of it is kept."""
        return None

    def refinement(self) -> Refinement | None:
        """Return the nonlinear fit that goes on from the linear one; None where the linear fit is the last."""
        return None


class FittedHyperparameters(Hyperparameters, ABC):
    """Hyperparameters of a family that has a fit of its own."""

    @abstractmethod
    def fit(self, train: Dataset, *, rng: np.random.Generator) -> Potential:
        """Return a potential fitted to the labels of ``train``."""


@dataclass(frozen=True, kw_only=True)
class PotentialKind:
    """A kind of potential that can be saved and read, whether or not it can be fitted.

    Attributes
    ----------
    kind
        Its name in saved potentials.
    load
        Reads the folder that a potential of the kind was saved to.
    describe_program
        For a kind whose potentials run a program that they name: returns in words what a saved one, given the content
        of its ``potential.json``, would run. Such a potential is read only where that is allowed.
    runs_as_stated
        For such a kind: returns whether a saved potential, by the content of its ``potential.json``, runs nothing but
        what the model of a config, ranges included, says that it runs; by default whether both are described alike.
    """

    kind: str
    load: Callable[[Path], Potential]
    describe_program: Callable[[Mapping[str, object]], str] | None = None
    runs_as_stated: Callable[[Mapping[str, object], Mapping[str, object]], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Family(PotentialKind):
    """A family of potentials: a kind that can be fitted, and stands under ``model: {kind: ...}``.

    Attributes
    ----------
    hyperparameters
        Their class; it says whether the family is linear or has a fit of its own.
    shrink
        What to lower when memory is short, in the words of the config.
    reach
        The hyperparameter that says how far atoms interact.
    extra
        The extra of Forcewright that installs what the family needs.
    packages
        Modules that must be importable for it, by the name of their distribution.
    takes_isolated_atoms
        Whether isolated atoms are of use among its training data.
    predicts_other_cells
        Whether its potentials know structures of other atoms, or another number of them, than those of the training.
    """

    hyperparameters: type[LinearHyperparameters] | type[FittedHyperparameters]
    shrink: str = "the number of functions"
    reach: str = "cutoff"
    extra: str | None = None
    packages: tuple[tuple[str, str], ...] = ()
    takes_isolated_atoms: bool = True
    predicts_other_cells: bool = True

    @property
    def is_linear(self) -> bool:
        """Whether its potentials are linear in their coefficients and come from normal equations."""
        return issubclass(self.hyperparameters, LinearHyperparameters)

    def require_packages(self) -> None:
        """Raise a `MissingExtraError` at once if a package that the family needs later is not installed."""
        for module, distribution in self.packages:
            if find_spec(module) is None:
                raise MissingExtraError(distribution, self.extra or self.kind, f"model kind {self.kind}")
