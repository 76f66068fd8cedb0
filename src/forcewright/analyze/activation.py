"""Arrhenius fits: activation energy and prefactor, with their errors, of what is thermally activated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import units
from numpy.typing import ArrayLike

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray


@dataclass(frozen=True, eq=False)
class ArrheniusFit(Result):
    """A fit of ln y = ln A - E_a / k_B T, where y is D, or σT for a conductivity.

    ========================  ===============================================================================
    temperature_K, values     what was fitted (M,): D or σ
    errors                    their standard deviations (M,), nan where none were given
    activation_energy_eV      E_a and its standard deviation, activation_energy_error_eV
    log_prefactor             ln A, in the unit of the values (times K for a conductivity), log_prefactor_error
    prefactor                 A
    covariance                (2, 2), of ln A and E_a
    chi2_per_freedom          sum of squared deviations over errors, per degree of freedom: near 1 if the errors
                              are right and the law holds; nan without errors or with two temperatures
    ========================  ===============================================================================
    """

    temperature_K: FloatArray
    values: FloatArray
    errors: FloatArray
    quantity: str
    activation_energy_eV: float
    activation_energy_error_eV: float
    prefactor: float
    log_prefactor: float
    log_prefactor_error: float
    covariance: FloatArray
    chi2_per_freedom: float

    def predict(self, temperature_K: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return D, or σ, at other temperatures, and its standard deviation (to first order)."""
        kelvin = np.asarray(temperature_K, dtype=float)
        beta = -1 / (units.kB * kelvin)
        value = np.exp(self.log_prefactor + self.activation_energy_eV * beta)
        if self.quantity == "conductivity":
            value = value / kelvin
        (aa, ae), (_, ee) = self.covariance
        return value, value * np.sqrt(aa + 2 * ae * beta + ee * beta**2)

    def _draw(self, ax: Axes) -> None:
        times = self.temperature_K if self.quantity == "conductivity" else np.ones_like(self.temperature_K)
        known = np.isfinite(self.errors).all()
        ax.errorbar(1000 / self.temperature_K, self.values * times, self.errors * times if known else None,
                    fmt="o", capsize=2)  # fmt: skip
        kelvin = 1 / np.linspace(1 / self.temperature_K.max(), 1 / self.temperature_K.min(), 50)
        value, error = self.predict(kelvin)
        scale = kelvin if self.quantity == "conductivity" else 1.0
        legend = f"$E_a$ = {self.activation_energy_eV:.3f} ± {self.activation_energy_error_eV:.3f} eV"
        line = ax.plot(1000 / kelvin, value * scale, label=legend)[0]
        ax.fill_between(1000 / kelvin, np.maximum(value - error, 1e-3 * value) * scale, (value + error) * scale,
                        color=line.get_color(), alpha=0.2, linewidth=0)  # fmt: skip
        label = "conductivity × temperature" if self.quantity == "conductivity" else "diffusion coefficient"
        ax.set(yscale="log", xlabel="1000 / temperature (1/K)", ylabel=label)
        ax.legend(frameon=False)


def arrhenius(
    temperature_K: Sequence[float] | FloatArray, values: Sequence[float] | FloatArray,
    errors: Sequence[float] | FloatArray | None = None, *,
    quantity: Literal["diffusion", "conductivity"] = "diffusion",
) -> ArrheniusFit:  # fmt: skip
    """Fit Arrhenius's law to diffusion coefficients or conductivities at several temperatures.

    D = A exp(-E_a / k_B T), or σT = A exp(-E_a / k_B T) (which follows from Nernst-Einstein), by least squares of the
    logarithm weighted by (y / δy)². The errors are taken as they are given, and not scaled to the scatter. Without
    errors the scatter about the line stands for them; this needs three temperatures.

    Parameters
    ----------
    temperature_K
        Temperatures (M,) in K.
    values
        Diffusion coefficients or conductivities (M,), above 0, in any unit.
    errors
        Their standard deviations (M,).

    Raises
    ------
    InputError
        If lengths differ, fewer than two temperatures differ (three without errors), or a number is not above 0.
    """
    kelvin, y = np.asarray(temperature_K, dtype=float), np.asarray(values, dtype=float)
    sigma = None if errors is None else np.asarray(errors, dtype=float)
    _check(kelvin, y, sigma, quantity)
    target = np.log(y * kelvin if quantity == "conductivity" else y)
    design = np.column_stack([np.ones_like(kelvin), -1 / (units.kB * kelvin)])
    weights = np.ones_like(y) if sigma is None else y / sigma
    inverse = np.linalg.inv((design.T * weights**2) @ design)
    fit = inverse @ (design.T * weights**2) @ target
    if sigma is None and len(y) < 3:
        raise InputError("two temperatures without errors leave the error of the line unknown; give errors or a third",
                         field="errors")  # fmt: skip
    freedom = len(y) - 2
    chi2 = float(np.sum((weights * (target - design @ fit)) ** 2) / freedom) if freedom else np.nan
    covariance = inverse if sigma is not None else inverse * chi2
    spread = np.sqrt(np.diag(covariance))
    return ArrheniusFit(
        temperature_K=kelvin, values=y, errors=np.full_like(y, np.nan) if sigma is None else sigma, quantity=quantity,
        activation_energy_eV=float(fit[1]), activation_energy_error_eV=float(spread[1]),
        prefactor=float(np.exp(fit[0])),
        log_prefactor=float(fit[0]), log_prefactor_error=float(spread[0]), covariance=covariance,
        chi2_per_freedom=np.nan if sigma is None else chi2,
    )  # fmt: skip


def _check(kelvin: FloatArray, values: FloatArray, errors: FloatArray | None, quantity: str) -> None:
    if quantity not in ("diffusion", "conductivity"):
        raise InputError(f"is {quantity!r}; it may be diffusion or conductivity", field="quantity")
    lengths = {len(np.atleast_1d(sequence)) for sequence in (kelvin, values, errors) if sequence is not None}
    if len(lengths) > 1 or kelvin.ndim != 1:
        raise InputError(f"must be lists of one length, found lengths {sorted(lengths)}", field="values")
    if len(np.unique(kelvin)) < 2:
        raise InputError("a slope needs two different temperatures or more", field="temperature_K")
    for name, array in (("temperature_K", kelvin), ("values", values), ("errors", errors)):
        if array is not None and not (np.isfinite(array).all() and (array > 0).all()):
            raise InputError("must be above 0 and finite; leave out temperatures without diffusion", field=name)
