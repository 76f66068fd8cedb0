"""The contract of a nonlinear fit that goes on from a linear one, such as ACE with several densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from forcewright.potential import Basis, Prediction
from forcewright.structure import Dataset, FloatArray, IntArray


@dataclass(frozen=True)
class RowWeights:
    """Weights w of a frame's energy per atom (eV), force components (eV/Å) and virial per atom (eV)."""

    energy: float
    force: float
    stress: float


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients ``c`` (p, P) and the constants of the species ``k`` (S,) in eV."""

    c: FloatArray
    k: FloatArray


@dataclass(frozen=True, eq=False)
class LinearStart:
    """The linear fit that a nonlinear one starts from.

    ``penalty`` (p,) is its ridge in unscaled columns, or with ``mixing`` (p, p) in the combinations of columns
    that this makes coefficients of; ``coefficients`` (S + p,) has the constants first, as many as are fitted.
    """

    penalty: FloatArray
    coefficients: FloatArray
    mixing: Any = None

    def ridge(self) -> FloatArray | None:
        """Return the matrix (p, p) of the ridge as a quadratic form of the coefficients; None where it is diagonal."""
        if self.mixing is None:
            return None
        inverse = np.linalg.inv(self.mixing.toarray())
        return np.asarray((inverse.T * self.penalty) @ inverse)


class RefinedFit(Protocol):
    """Frames with their weights, ready to be fitted to or predicted."""

    def of(self, indices: Sequence[int] | IntArray) -> RefinedFit:
        """Return the fit to some of the frames."""

    def predict(self, x: Coefficients) -> list[Prediction]:
        """Predict all frames."""

    def search(
        self, linear: LinearStart, rng: np.random.Generator, *, stages: Sequence[int] | None = None,
        watch: Callable[[Coefficients], bool] = ...,
    ) -> list[list[Coefficients]]:  # fmt: skip
        """Return the coefficients after each iteration, stage by stage; the first stage begins with the start.

        Parameters
        ----------
        stages
            Iterations of each stage at most, of fewer stages than there are to end with one of them; by default those
            of the hyperparameters.
        watch
            Called with the coefficients after every iteration and with the start; False ends the stage.
        """


class Refinement(Protocol):
    """How a linear fit is refined."""

    @property
    def densities(self) -> int:
        """Number of densities that the energy of an atom is a function of."""

    @property
    def exponents(self) -> tuple[float, ...]:
        """Exponent of each density."""

    @property
    def patience(self) -> int:
        """Iterations without a lower validation loss after which a stage stops."""

    @property
    def kappa(self) -> float | None:
        """Share of the forces in the loss (du Toit 2025, equation 2.37); None for the weights of the linear fit."""

    def prepare(
        self, basis: Basis, dataset: Dataset, energies: Mapping[int, float], weights: Sequence[RowWeights],
        threads: int,
    ) -> RefinedFit:  # fmt: skip
        """Return the fit to frames with their weights; frames that are only predicted need none."""
