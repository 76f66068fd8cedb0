"""A trained graph network and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.models.graph.architecture import Architecture, Precision, require_packages
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.plain_data import number
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import Structure


@dataclass(frozen=True, eq=False, repr=False)
class GraphPotential(PotentialBase):
    """A trained graph network.

    Parameters
    ----------
    settings
        Architecture, cutoff, channels, layers, radial_features, lmax and correlation.
    species
        Atomic numbers it knows, ascending.
    weights
        The tensors of the network by name.
    neighbors
        What sums over neighbors are divided by.
    offsets
        Energy in eV of each species outside the network.
    scale
        Energy in eV of one unit of the network.
    precision, device
        How and where it predicts; the device is not saved.
    """

    settings: Mapping[str, Any]
    species: tuple[int, ...]
    weights: Mapping[str, np.ndarray]
    neighbors: float
    offsets: Mapping[int, float]
    scale: float
    precision: str = "float32"
    device: str = "auto"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    _built: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def cutoff(self) -> float:
        """Distance in Å up to which atoms are neighbors; messages carry interactions ``layers`` times as far."""
        return float(self.settings["cutoff"])

    def network(self) -> Any:
        """Return the network, built at its first use and on the device."""
        if "network" not in self._built:
            require_packages()
            from forcewright.models.graph.networks import DTYPES, build, choose_device, load_weights

            network = build(self.settings, self.species, 0, self.neighbors)
            load_weights(network, self.weights)
            self._built["network"] = network.to(choose_device(self.device), DTYPES[self.precision]).eval()
        return self._built["network"]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the built network behind when travelling to a worker process."""
        return {**self.__dict__, "_built": {}}

    def describe_size(self) -> str:
        """Return architecture, channels and layers in words."""
        network = self.settings
        return f"{network['architecture']}, {network['channels']} channels, {network['layers']} layers"

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements, in batches."""
        from forcewright.models.graph.networks import DTYPES, choose_device, predict_batch

        network, where = self.network(), (choose_device(self.device), DTYPES[self.precision])
        results: list[Prediction] = []
        for batch in _batches(structures):
            predicted = predict_batch(network, batch, self.cutoff, *where, forces=forces, stress=stress)
            for structure, (energy, force, strain) in zip(batch, predicted, strict=True):
                total = sum(self.offsets[int(z)] for z in structure.numbers) + self.scale * energy
                force = None if force is None else self.scale * force
                tension = None if strain is None or structure.volume == 0 else self.scale * strain / structure.volume
                results.append(Prediction(total, force, tension))
        return results

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json`` and ``weights.npz``, which holds plain arrays, to a folder."""
        content = {
            "species": [chemical_symbols[z] for z in self.species], "network": dict(self.settings),
            "neighbors": self.neighbors, "scale_eV": self.scale, "precision": self.precision,
            "offsets_eV": {chemical_symbols[z]: e for z, e in self.offsets.items()},
            "provenance": dict(self.provenance),
        }  # fmt: skip
        return write_potential(folder, "graph", content, arrays={"weights.npz": self.weights})

    @classmethod
    def load(cls, folder: Path) -> GraphPotential:
        """Read a folder written by `save`."""
        with PotentialFolder(folder, "graph") as saved:
            content = saved.content
            network = Architecture(**content["network"])
            if content["precision"] not in get_args(Precision):
                raise ValueError(f"precision is {content['precision']!r}")
            potential = cls(
                network.model_dump(), saved.species, saved.arrays("weights.npz"),
                number(content["neighbors"], "neighbors", above=0), saved.energies("offsets_eV"),
                number(content["scale_eV"], "scale_eV", above=0), content["precision"], provenance=saved.provenance,
            )  # fmt: skip
        try:
            potential.network()
        except RuntimeError as error:
            raise InputError(
                f"does not hold the weights of this {network.architecture}: {str(error).splitlines()[0]}",
                file=folder / "weights.npz",
            ) from None
        return potential


def _batches(structures: Sequence[Structure], atoms: int = 256) -> list[list[Structure]]:
    """Return structures in order, in batches of about so many atoms."""
    batches: list[list[Structure]] = []
    held = 0
    for structure in structures:
        if not batches or held + len(structure) > atoms:
            batches.append([])
            held = 0
        batches[-1].append(structure)
        held += len(structure)
    return batches
