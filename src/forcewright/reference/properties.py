"""Properties that a reference gives beside energy, forces and stress, in ASE's units and under ASE's names.

=======================================  ==============  ==========================================================
name                                     per             unit
=======================================  ==============  ==========================================================
``dipole``                               structure       e·Å; of a charged molecule, about the origin
``quadrupole``                           structure       e·Å², traceless, nine numbers (tblite)
``polarizability``                       structure       Å³, nine numbers; of xTB by central differences in a field
``charges``, ``magmoms``                 atom            e, Bohr magnetons
``born_effective_charges``               atom            e, nine numbers
``shielding``                            atom            ppm, absolute, nine numbers (PySCF)
``magmom``                               structure       Bohr magnetons
``dielectric_tensor``                    structure       nine numbers
``eigenvalues``                          structure       eV, with ``occupations`` (0 to 1), ``fermi_level`` (eV) and
                                                         ``electrons``; states of one k-point
=======================================  ==============  ==========================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, PropertyNotPresent

from forcewright.errors import InputError
from forcewright.structure import FloatArray
from forcewright.units import BOHR, HARTREE

PropertyName = Literal[
    "dipole", "quadrupole", "polarizability", "magmom", "dielectric_tensor", "eigenvalues", "charges", "magmoms",
    "born_effective_charges", "shielding",
]  # fmt: skip
PROPERTIES: tuple[str, ...] = get_args(PropertyName)
PER_ATOM = ("charges", "magmoms", "born_effective_charges", "shielding")
#: What tblite gives that its calculator does not list.
_OF_TBLITE = ("dipole", "charges", "quadrupole", "polarizability", "eigenvalues")
_BOLTZMANN = 8.617333262e-5  # eV/K
#: Electric field (V/Å) of the central differences of a polarizability: their error is of its square.
_FIELD = 0.01


def is_tblite(calculator: Calculator) -> bool:
    """Whether a calculator is tblite's."""
    return type(calculator).__module__.startswith("tblite")


def require_offered(calculator: Calculator, names: Sequence[str], field: str = "properties") -> None:
    """Raise `InputError` if a calculator does not say that it gives a property, naming those it gives."""
    offered = {name for name in calculator.implemented_properties if name in PROPERTIES}
    if is_tblite(calculator):
        offered |= set(_OF_TBLITE)
    elif hasattr(calculator, "get_eigenvalues"):
        offered.add("eigenvalues")
    if unknown := [name for name in names if name not in offered]:
        raise InputError(
            f"{unknown[0]} is not a property that {type(calculator).__name__} gives; it gives "
            f"{', '.join(sorted(offered)) or 'none'}", field=field,
        )  # fmt: skip


def measure(atoms: Atoms, calculator: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return properties of atoms whose energy was just computed, as plain values by their names.

    Raises
    ------
    InputError
        If the calculator does not give one for this structure.
    """
    values: dict[str, Any] = {}
    for name in names:
        if name == "eigenvalues":
            values |= _of_tblite(calculator) if is_tblite(calculator) else _of_ase(calculator)
        elif name == "polarizability" and is_tblite(calculator):
            values[name] = [float(value) for value in field_polarizability(atoms, calculator).ravel()]
        elif name == "quadrupole" and is_tblite(calculator):
            values[name] = _quadrupole(calculator)
        else:
            try:
                values[name] = np.asarray(calculator.get_property(name, atoms), dtype=np.float64).ravel().tolist()
            except (PropertyNotImplementedError, PropertyNotPresent, KeyError, TypeError) as error:
                raise InputError(f"the calculator gives no {name} of this structure ({error})", field=name) from None
        if name == "magmom":
            (values[name],) = values[name]
    for name, value in values.items():
        if not np.isfinite(np.asarray(value)).all():
            raise InputError(f"the {name} holds numbers that are not finite", field=name)
    return values


def _results(calculator: Any) -> Any:
    """Return what tblite computed, in atomic units."""
    return calculator._res


def _quadrupole(calculator: Calculator) -> list[float]:
    """Return the traceless quadrupole (nine numbers, e·Å²); tblite orders xx xy yy xz yz zz."""
    xx, xy, yy, xz, yz, zz = np.asarray(_results(calculator)["quadrupole"]) * BOHR**2
    return [float(value) for value in (xx, xy, xz, xy, yy, yz, xz, yz, zz)]


def _of_tblite(calculator: Any) -> dict[str, Any]:
    energies = np.atleast_2d(np.asarray(_results(calculator)["orbital-energies"]) * HARTREE)
    filled = np.asarray(_results(calculator)["orbital-occupations"]).reshape(energies.shape)
    held = 2 if len(energies) == 1 else 1
    temperature = float(calculator.parameters["electronic_temperature"])
    electrons = float(filled.sum())
    return {
        "eigenvalues": (energies[0] if held == 2 else energies[:, None]).tolist(),
        "occupations": (filled[0] / held if held == 2 else filled[:, None]).tolist(),
        "fermi_level": fermi_level(energies.ravel(), electrons, held, _BOLTZMANN * temperature),
        "electrons": round(electrons, 6),
    }


def fermi_level(energies: FloatArray, electrons: float, held: int, width: float) -> float:
    """Return the energy (eV) at which states that hold so many electrons each are filled by all electrons.

    Parameters
    ----------
    energies
        Energies (n,) in eV.
    electrons, held
        Number of electrons, and how many a state holds.
    width
        Boltzmann's constant times the temperature, in eV; at 0 the middle between the highest occupied and the lowest
        empty state.
    """
    levels = np.sort(energies)
    filled = min(int(np.ceil(electrons / held - 1e-9)), len(levels))
    highest, lowest = levels[max(filled - 1, 0)], levels[min(filled, len(levels) - 1)]
    partly = abs(filled * held - electrons) > 1e-9
    if width <= 0:
        return float(highest if partly else (highest + lowest) / 2)
    low, high = levels[0] - 50 * width - 1, levels[-1] + 50 * width + 1
    while high - low > 1e-12 * max(abs(low), abs(high), 1.0):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        total = held * (0.5 * (1 - np.tanh((levels - middle) / (2 * width)))).sum()
        low, high = (middle, high) if total < electrons else (low, middle)
    return float((low + high) / 2)


def _of_ase(calculator: Any) -> dict[str, Any]:
    """Return the eigenvalues of an ASE calculator that has them at one k-point or several."""
    try:
        spins, weights = calculator.get_number_of_spins(), np.asarray(calculator.get_k_point_weights())
        energies = np.array([[calculator.get_eigenvalues(k, s) for k in range(len(weights))] for s in range(spins)])
        counted = getattr(calculator, "get_number_of_electrons", None)
        known = {} if counted is None else {"electrons": float(counted())}
        return known | {
            "eigenvalues": energies.tolist(), "k_weights": (weights / weights.sum()).tolist(),
            "fermi_level": float(calculator.get_fermi_level()),
        }  # fmt: skip
    except Exception as error:  # anything may go wrong in somebody else's code
        raise InputError(f"the calculator gives no eigenvalues ({error})", field="eigenvalues") from None


def field_polarizability(atoms: Atoms, calculator: Any) -> FloatArray:
    """Return the polarizability (3, 3) in Å³ of a molecule by central differences of dipoles in a field, with tblite.

    Raises
    ------
    InputError
        If the structure is periodic: its dipole is not the molecule's.
    """
    if atoms.pbc.any():
        raise InputError("a polarizability by differences of dipoles needs a molecule; this is periodic", field="pbc")
    slopes = np.zeros((3, 3))
    for axis in range(3):
        dipoles = []
        for sign in (1, -1):
            field = np.zeros(3)
            field[axis] = sign * _FIELD * BOHR / HARTREE
            dipoles.append(_dipole_in_field(atoms, calculator, field))
        slopes[:, axis] = (dipoles[0] - dipoles[1]) / (2 * _FIELD)
    return (slopes + slopes.T) / 2 * (HARTREE * BOHR)


def _dipole_in_field(atoms: Atoms, calculator: Any, field: FloatArray) -> FloatArray:
    """Return the dipole (e·Å) in a field in atomic units; the field goes past tblite's ASE calculator.

    Up to tblite 0.8 its Python interface takes no array for a field.
    """
    interface, library = import_module("tblite.interface"), import_module("tblite.library")
    settings = calculator.parameters
    spin = settings["multiplicity"] - 1 if settings["multiplicity"] else 0
    computed = interface.Calculator(
        settings["method"], atoms.numbers, atoms.positions / BOHR, charge=settings["charge"] or 0.0, uhf=spin
    )
    computed.set("accuracy", settings["accuracy"])
    computed.set("temperature", settings["electronic_temperature"] * _BOLTZMANN / HARTREE)
    computed.set("max-iter", settings["max_iterations"])
    computed.set("verbosity", 0)
    try:
        computed.add("electric-field", field)
    except TypeError:
        computed.add("electric-field", library.ffi.new("double[3]", field.tolist()))
    return np.asarray(computed.singlepoint()["dipole"]) * BOHR
