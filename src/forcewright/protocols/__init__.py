"""Small named calculations with a potential, from an equation of state to melt and quench."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

_HOMES = {
    "antisite": "forcewright.protocols.defects",
    "compression": "forcewright.protocols.compression",
    "defect_energy": "forcewright.protocols.defects",
    "dimer_curve": "forcewright.protocols.dimer",
    "elastic_constants": "forcewright.protocols.elastic",
    "equation_of_state": "forcewright.protocols.equation_of_state",
    "interstitials": "forcewright.protocols.defects",
    "phase_energies": "forcewright.protocols.phases",
    "phonons": "forcewright.protocols.phonons",
    "relax": "forcewright.protocols.relaxation",
    "surface_energies": "forcewright.protocols.surfaces",
    "vacancy": "forcewright.protocols.defects",
}


class _Protocols(Mapping[str, Callable[..., Any]]):
    """The protocols by name; each is imported when first used."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(_HOMES[name]), name)
        return function

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


#: Functions of a calculator, a structure (two elements for ``dimer_curve``) and plain numbers.
PROTOCOLS: Mapping[str, Callable[..., Any]] = _Protocols()
