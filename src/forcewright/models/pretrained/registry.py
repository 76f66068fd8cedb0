"""Which pretrained models there are: where their weights lie, what they are licensed under, and numbers they must give.

Weights come from the installed package alone: no network, and no file of anybody else. A file is read only if its
SHA-256 is the one stated here, so that what is unpickled is what was looked at; and a model is used only if it gives
the energies and forces stated here, so that a package that reads old weights in a new way does not go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ase.calculators.calculator import Calculator

from forcewright.configs import did_you_mean
from forcewright.errors import InputError
from forcewright.models.pretrained.calculators import chgnet_calculator, sevennet_calculator

#: Atomic numbers in MPtrj, the trajectories of the Materials Project: up to plutonium, without Po, At, Rn, Fr and Ra.
MPTRJ = tuple(z for z in range(1, 95) if not 84 <= z <= 88)


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model.

    Attributes
    ----------
    name
        Its name in configs.
    package, extra
        The distribution, whose import name is the same, and the extra of ours that installs it.
    weights
        The file of the weights inside the package.
    sha256
        Its SHA-256.
    make
        Makes an ASE calculator of that file.
    species
        Atomic numbers in its training data.
    cutoff
        Range of one layer in Å; messages carry further.
    license
        Of weights and code.
    trained_on
        Its training data, their method, and their license.
    citation
        What to cite.
    golden
        Energy in eV and largest component of a force in eV/Å of each of `golden_structures`, by name.
    needs_cell
        Whether it knows nothing but periodic cells.
    """

    name: str
    package: str
    extra: str
    weights: str
    sha256: str
    make: Callable[[Path], Calculator]
    species: tuple[int, ...]
    cutoff: float
    license: str
    trained_on: str
    citation: str
    golden: Mapping[str, tuple[float, float]]
    needs_cell: bool = False


_MPTRJ_TEXT = "MPtrj (Materials Project, PBE and PBE+U, corrected for mixing; CC BY 4.0)"

PRETRAINED: dict[str, Pretrained] = {
    model.name: model
    for model in (
        Pretrained(
            "chgnet", "chgnet", "chgnet", "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
            "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1", chgnet_calculator, MPTRJ, 6.0,
            "BSD-3-Clause (modified)", _MPTRJ_TEXT,
            "B. Deng et al., CHGNet as a pretrained universal neural network potential for charge-informed atomistic "
            "modelling, Nat. Mach. Intell. 5, 1031 (2023): version 0.3.0.",
            {"Si8": (-42.1877, 0.8083), "Na4Cl4": (-29.2910, 0.1545)}, needs_cell=True,
        ),
        Pretrained(
            "sevennet-0", "sevenn", "sevennet",
            "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
            "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36", sevennet_calculator, MPTRJ, 5.0,
            "MIT", _MPTRJ_TEXT,
            "Y. Park, J. Kim, S. Hwang and S. Han, Scalable parallel algorithm for graph neural network interatomic "
            "potentials in molecular dynamics simulations, J. Chem. Theory Comput. 20, 4857 (2024): SevenNet-0, 11 "
            "July 2024.",
            {"Si8": (-42.7756, 1.1461), "Na4Cl4": (-27.0009, 0.2040)},
        ),
    )
}  # fmt: skip


def pretrained_named(name: str) -> Pretrained:
    """Return a model by its name; `InputError` if there is none."""
    if name not in PRETRAINED:
        raise InputError(
            f"is {name!r}; {did_you_mean(name, list(PRETRAINED))} Others, such as MACE, MatterSim and Orb, come as "
            "{ase: module:factory, kwargs: …} where they are installed", field="pretrained",
        )  # fmt: skip
    return PRETRAINED[name]
