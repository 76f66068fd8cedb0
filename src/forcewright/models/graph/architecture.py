"""What a graph network is, whatever its training."""

from __future__ import annotations

import warnings
from typing import Literal

from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.errors import MissingExtraError

Precision = Literal["float32", "float64"]


class Architecture(StrictModel):
    """What a saved network keeps, and fine-tuning may not change."""

    architecture: Literal["schnet", "painn", "tensornet", "nequip", "mace"] = "painn"
    """Which network: SchNet, PaiNN, TensorNet, NequIP or MACE, from fast to slow."""
    cutoff: float = Field(default=4.5, gt=0)
    """Distance in Å up to which atoms are neighbors; what an atom feels reaches layers times as far."""
    channels: int = Field(default=32, ge=2, le=1024)
    """Features of each atom (of each order, where there are several)."""
    layers: int = Field(default=2, ge=1, le=12)
    """How often neighbors exchange messages."""
    radial_features: int = Field(default=12, ge=2, le=256)
    """Functions in which distances are expanded."""
    lmax: int = Field(default=1, ge=0, le=4)
    """Largest order of the spherical harmonics of NequIP and MACE; the others have none."""
    correlation: int = Field(default=2, ge=1, le=4)
    """How many neighbors a message of MACE multiplies; the others have none."""


#: names of these fields
ARCHITECTURE = tuple(Architecture.model_fields)


def require_packages() -> None:
    """Import graph-pes, or say how to get it; its own imports warn of what only their authors can mend."""
    for package, module in (("torch", "torch"), ("graph-pes", "graph_pes")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                __import__(module)
        except ImportError:
            raise MissingExtraError(package, "graph", "A graph network") from None
