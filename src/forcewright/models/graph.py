"""Graph networks through graph-pes: SchNet, PaiNN, TensorNet, NequIP and MACE (extra ``graph``).

The energy is Σ_i [offset(Z_i) + scale · network_i], with forces and stress as its exact derivatives. ``scale`` is the
root mean square of the force components of the training set; the offsets are energies of isolated atoms or a fit to
the composition.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

from forcewright.errors import InputError, MissingExtraError
from forcewright.models.storage import read_arrays, read_json, write_potential
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.structure import Dataset, Structure

if TYPE_CHECKING:
    from forcewright.models.graph_training import Epoch

#: fields that say what a network is; a saved potential keeps them, and fine-tuning may not change them
ARCHITECTURE = ("architecture", "cutoff", "channels", "layers", "radial_features", "lmax", "correlation")


class GraphModel(BaseModel):
    """Hyperparameters of a graph network and its training, as they stand in the config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["graph"] = "graph"
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
    start_from: Path | None = None
    """Folder of a saved graph network to go on from (fine-tuning); its architecture may not be changed."""
    energy_offsets: Literal["fitted", "isolated"] = "fitted"
    """Energy of each species outside the network: a fit to the composition, or that of isolated atoms in the data."""
    energy_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared error of the energy per √N, in units of the root mean square force."""
    forces_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared error of a force component."""
    stress_weight: float = Field(default=0.0, ge=0)
    """Weight of the squared error of a component of the virial per √N."""
    epochs: int = Field(default=200, ge=1)
    """How often training goes through the data at most."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Limit of the training time; with it, results depend on the speed of the machine."""
    batch_size: int = Field(default=4, ge=1)
    """Structures per step."""
    learning_rate: float = Field(default=3e-3, gt=0, lt=1)
    """Largest learning rate, after a short warm-up; it then falls along a cosine."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights (AdamW)."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Memory of the moving average of the weights that is kept in the end; 0 keeps the last weights."""
    gradient_clip: float = Field(default=10.0, gt=0)
    """Longest gradient a step follows."""
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training set, in whole blocks of trajectories, that only tells when to stop; 0 stops never."""
    patience: int = Field(default=50, ge=1)
    """Epochs without a better validation loss after which training ends."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision of training and prediction."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one. On a GPU, sums are not repeatable to the last digit."""

    def fit(
        self, train: Dataset, *, rng: np.random.Generator, progress: Callable[[Epoch], None] | None = None
    ) -> GraphPotential:
        """Train on energies and forces, and on stresses where they have a weight.

        Parameters
        ----------
        train
            Frames with energies, forces or both; a share of them is held back to tell when to stop.
        rng
            Decides the first weights, what is held back, and the order of the frames.
        progress
            Called after each epoch.

        Raises
        ------
        MissingExtraError
            If graph-pes or torch is not installed.
        InputError
            If there is nothing to train on, isolated atoms are wanted and missing, there is no GPU where one is asked
            for, or ``start_from`` is another network, or training diverges.
        """
        _require_packages()
        from forcewright.models.graph_fitting import fit

        return fit(self, train, rng=rng, progress=progress)

    def settings(self) -> dict[str, Any]:
        """Return the fields that say what the network is."""
        return {name: getattr(self, name) for name in ARCHITECTURE}


@dataclass(frozen=True, eq=False)
class GraphPotential:
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

    @property
    def parameter_count(self) -> int:
        """How many numbers were trained, those of species it does not know included."""
        return sum(parameter.numel() for parameter in self.network().parameters() if parameter.requires_grad)

    def network(self) -> Any:
        """Return the network, built at its first use and on the device."""
        if "network" not in self._built:
            _require_packages()
            from forcewright.models.graph_networks import DTYPES, build, choose_device, load_weights

            network = build(self.settings, self.species, 0, self.neighbors)
            load_weights(network, self.weights)
            self._built["network"] = network.to(choose_device(self.device), DTYPES[self.precision]).eval()
        return self._built["network"]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the built network behind when travelling to a worker process."""
        return {**self.__dict__, "_built": {}}

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure; the stress is None for structures without a cell.

        Raises
        ------
        InputError
            If a structure holds an element that it does not know.
        """
        for index, structure in enumerate(structures):
            if unknown := sorted(set(structure.numbers.tolist()) - set(self.species)):
                raise InputError(
                    f"holds {_symbols(unknown)}, but the potential knows only {_symbols(self.species)}",
                    frame=index, field="numbers",
                )  # fmt: skip
        from forcewright.models.graph_networks import DTYPES, choose_device, predict_batch

        network, place = self.network(), (choose_device(self.device), DTYPES[self.precision])
        results: list[Prediction] = []
        for batch in _batches(structures):
            for structure, (energy, force, strain) in zip(
                batch, predict_batch(network, batch, self.cutoff, *place, forces=forces, stress=stress), strict=True
            ):
                offset = sum(self.offsets[int(z)] for z in structure.numbers)
                results.append(
                    Prediction(
                        offset + self.scale * energy,
                        None if force is None else self.scale * force,
                        None if strain is None or structure.volume == 0 else self.scale * strain / structure.volume,
                    )
                )
        return results

    def calculator(self) -> Calculator:
        """Return an ASE calculator."""
        return PotentialCalculator(self)

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
        file = folder / "potential.json"
        content = read_json(file, "graph")
        try:
            model = GraphModel(**content["network"])
            found = cls(
                model.settings(), tuple(chemical_symbols.index(s) for s in content["species"]),
                read_arrays(folder / "weights.npz"), float(content["neighbors"]),
                {chemical_symbols.index(s): float(e) for s, e in content["offsets_eV"].items()},
                float(content["scale_eV"]), GraphModel(precision=content["precision"]).precision,
                provenance=content.get("provenance", {}),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"is damaged: {error!r}; save the potential again", file=file) from None
        try:
            found.network()
        except RuntimeError as error:
            raise InputError(
                f"does not hold the weights of this {model.architecture}: {str(error).splitlines()[0]}",
                file=folder / "weights.npz",
            ) from None
        return found


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


def _symbols(species: Sequence[int]) -> str:
    return " ".join(chemical_symbols[z] for z in species)


def _require_packages() -> None:
    """Import graph-pes, or say how to get it; its own imports warn of what only their authors can mend."""
    for package, module in (("torch", "torch"), ("graph-pes", "graph_pes")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                __import__(module)
        except ImportError:
            raise MissingExtraError(package, "graph", "A graph network") from None
