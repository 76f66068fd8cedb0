"""From a data set to a trained graph network: offsets, scale, what is held back, first weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import chemical_symbols

from forcewright.data.folds import holdout
from forcewright.data.reference_energies import composition_matrix, is_isolated_atom, isolated_or_fitted_energies
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.graph.architecture import ARCHITECTURE
from forcewright.models.graph.networks import DTYPES, build, choose_device, load_weights, weights_of
from forcewright.models.graph.potential import GraphPotential
from forcewright.models.graph.training import Epoch, Example, examples, train
from forcewright.structure import Dataset

if TYPE_CHECKING:
    from forcewright.models.graph.hyperparameters import GraphModel


def fit(
    model: GraphModel, data: Dataset, *, rng: np.random.Generator, progress: Callable[[Epoch], None] | None = None
) -> GraphPotential:
    """Train a graph network; see `GraphModel.fit`."""
    device = _device(model.device)
    start = None if model.start_from is None else _start(model, data)
    if start is not None:
        model = model.model_copy(update=dict(start.settings))
    offsets = _offsets(model, data, start)
    data = _usable(model, data)
    kept, held = _held_back(data, model.validation_share, rng)
    scale = start.scale if start is not None else _scale(data[kept], offsets)
    species = start.species if start is not None else data.species
    shifts = [sum(offsets[int(z)] for z in structure.numbers) for structure in data.structures]
    framed = examples(data, shifts, scale, model, device)
    training, validation = [framed[i] for i in kept], [framed[i] for i in held]
    neighbors = start.neighbors if start is not None else _mean_neighbors(training)
    network = build(model.settings(), species, int(rng.integers(2**31)), neighbors)
    if start is not None:
        load_weights(network, start.weights)
    network = network.to(device, DTYPES[model.precision])
    outcome = train(network, training, validation, model, rng=rng, progress=progress)
    weights = weights_of(network)
    if not all(np.isfinite(w).all() for w in weights.values() if w.dtype.kind == "f") or outcome.best == 0:
        raise InputError(
            f"training of {model.architecture} ended {outcome.ended}; lower it", field="model.learning_rate"
        )
    provenance = {
        "package": f"graph-pes {version('graph-pes')}, torch {torch.__version__}", "device": device.type,
        "frames": len(training), "held_back": len(validation), "hyperparameters": model.model_dump(mode="json"),
        **outcome.describe(),
    }  # fmt: skip
    return GraphPotential(
        model.settings(), species, weights, neighbors, offsets, scale, model.precision, model.device, provenance
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("is cuda, but torch finds no GPU here; use auto or cpu", field="model.device")
    return choose_device(name)


def _start(model: GraphModel, data: Dataset) -> GraphPotential:
    """Return the potential to go on from, after checking that it is what the config describes."""
    assert model.start_from is not None
    start = load(model.start_from)
    if not isinstance(start, GraphPotential):
        raise InputError("holds no graph network", file=model.start_from, field="model.start_from")
    for name in ARCHITECTURE:
        value = getattr(model, name)
        if name in model.model_fields_set and value != start.settings[name]:
            raise InputError(
                f"is {value}, but the network to start from has {start.settings[name]}; take the field out",
                file=model.start_from, field=f"model.{name}",
            )  # fmt: skip
    if unknown := sorted(set(data.species) - set(start.species)):
        raise InputError(
            f"knows no {', '.join(chemical_symbols[z] for z in unknown)}; train from the beginning",
            file=model.start_from, field="model.start_from",
        )  # fmt: skip
    return replace(start, precision=model.precision, device=model.device, _built={})


def _offsets(model: GraphModel, data: Dataset, start: GraphPotential | None) -> dict[int, float]:
    """Return the energy of each species outside the network, in eV."""
    labelled = data[[labels.energy is not None for labels in data.labels]]
    if start is not None:
        return _moved_offsets(labelled, start)
    if not len(labelled):
        return dict.fromkeys(data.species, 0.0)
    if model.energy_offsets == "fitted":
        bonded = labelled[[not is_isolated_atom(frame) for frame in labelled]]
        energies = isolated_or_fitted_energies(bonded if bonded.species == data.species else labelled)
        return {z: energies.per_species.get(z, 0.0) for z in data.species}
    energies = isolated_or_fitted_energies(labelled)
    if energies.source != "isolated atoms":
        raise InputError(
            "is isolated, but the data hold no isolated atom of every species; add them, or use fitted",
            field="model.energy_offsets",
        )
    return dict(energies.per_species)


def _moved_offsets(labelled: Dataset, start: GraphPotential) -> dict[int, float]:
    """Return the offsets of a saved potential, moved to where the energies of new data lie."""
    offsets = dict(start.offsets)
    bonded = labelled[[not is_isolated_atom(frame) for frame in labelled]]
    if len(bonded):
        predicted = [p.energy for p in start.predict(bonded.structures, forces=False, stress=False)]
        missing = np.array([labels.energy for labels in bonded.labels], dtype=np.float64) - predicted
        counts = composition_matrix(bonded, start.species)
        for z, moved in zip(start.species, np.linalg.lstsq(counts, missing, rcond=1e-10)[0], strict=True):
            offsets[z] += float(moved)
    return offsets


def _usable(model: GraphModel, data: Dataset) -> Dataset:
    """Return the frames that can be learned from; with fitted offsets, isolated atoms cannot."""
    keep = []
    for frame in data:
        energy = frame.labels.energy is not None and model.energy_weight > 0
        forces = frame.labels.forces is not None and model.forces_weight > 0
        keep.append((energy or forces) and not (model.energy_offsets == "fitted" and is_isolated_atom(frame)))
    if not any(keep):
        raise InputError(
            "no frame has what the weights ask for: energies with energy_weight, forces with forces_weight",
            file=data.source or None,
        )
    return data[keep]


def _held_back(data: Dataset, share: float, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    if share == 0 or len(data) < 2:
        return list(range(len(data))), []
    try:
        kept, held = holdout(data, share, rng)
    except InputError:  # groups of one frame each, which never give theirs
        order = rng.permutation(len(data))
        count = min(max(round(share * len(data)), 1), len(data) - 1)
        kept, held = np.sort(order[count:]), np.sort(order[:count])
    return kept.tolist(), held.tolist()


def _scale(data: Dataset, offsets: dict[int, float]) -> float:
    """Return the root mean square force component in eV/Å, or where there are none, of the energies per √N in eV."""
    forces = [labels.forces.ravel() for labels in data.labels if labels.forces is not None]
    values = np.concatenate(forces) if forces else np.zeros(0)
    if not values.any():
        values = np.array([
            (labels.energy - sum(offsets[int(z)] for z in structure.numbers)) / np.sqrt(len(structure))
            for structure, labels, _ in data
            if labels.energy is not None
        ])  # fmt: skip
    return max(float(np.sqrt(np.mean(values**2))), 1e-3) if len(values) else 1.0


def _mean_neighbors(training: Sequence[Example]) -> float:
    edges, atoms = (sum(n) for n in zip(*((g.edges.shape[1], len(g.numbers)) for g, _ in training), strict=True))
    return max(float(edges) / float(atoms), 1.0)
