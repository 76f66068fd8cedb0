"""Training of graph networks: batches, loss, learning rate, moving average of the weights, early stopping.

Everything is done in reduced units: energies are counted from a sum over the atoms, and energies and forces are divided
by the root mean square of the force components of the training set.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from forcewright.models.graph.networks import DTYPES, Evaluated, Graph, evaluate, join, quiet, to_graph
from forcewright.structure import Dataset, Labels

if TYPE_CHECKING:
    from forcewright.models.graph.hyperparameters import GraphModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """How training stands after an epoch; losses are those of the config, in reduced units."""

    number: int
    planned: int
    training_loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Targets:
    """Labels of one structure in reduced units; None where there is none. ``strain`` is dE/dε = stress · volume."""

    energy: Tensor | None
    forces: Tensor | None
    strain: Tensor | None


Example = tuple[Graph, Targets]


@dataclass
class Outcome:
    """What came of a training: its epochs, the best of them, and why it ended."""

    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    ended: str = "after all epochs"

    def describe(self) -> dict[str, Any]:
        """Return plain values for the provenance."""
        last = self.epochs[-1] if self.epochs else None
        checked = [epoch.validation_loss for epoch in self.epochs if epoch.validation_loss is not None]
        return {
            "epochs": len(self.epochs), "best_epoch": self.best, "ended": self.ended,
            "training_s": last.seconds if last else 0.0,
            "validation_loss": min(checked, default=None),
        }  # fmt: skip


def examples(
    dataset: Dataset, shifts: Sequence[float], scale: float, model: GraphModel, device: torch.device
) -> list[Example]:
    """Return frames as tensors, with ``shifts`` in eV subtracted from their energies and all divided by ``scale``."""
    dtype = DTYPES[model.precision]

    def tensor(values: Any) -> Tensor:
        return torch.tensor(np.asarray(values) / scale, device=device, dtype=dtype)

    def targets(labels: Labels, shift: float, volume: float) -> Targets:
        return Targets(
            None if labels.energy is None else tensor(labels.energy - shift),
            None if labels.forces is None else tensor(labels.forces),
            None if labels.stress is None or not volume or not model.stress_weight else tensor(labels.stress * volume),
        )

    return [
        (to_graph(structure, model.cutoff, device, dtype), targets(labels, shift, structure.volume))
        for (structure, labels, _), shift in zip(dataset, shifts, strict=True)
    ]


def batch_loss(evaluated: Evaluated, batch: Sequence[Example], model: GraphModel) -> Tensor:
    """Return the loss of a batch.

    The mean squared error of a force component, that of the energy per √N (so that the error of a sum of independent
    errors of N atoms counts the same in every cell), and that of a virial component per √N, with their weights.
    """
    sizes = [len(graph.numbers) for graph, _ in batch]
    total = torch.zeros_like(evaluated.energies[0])
    rows = [k for k, (_, t) in enumerate(batch) if t.energy is not None]
    if rows:
        errors = evaluated.energies[rows] - torch.stack([t.energy for _, t in batch if t.energy is not None])
        total = total + model.energy_weight * torch.mean(errors**2 / errors.new_tensor([sizes[k] for k in rows]))
    if evaluated.forces is not None:
        pairs = [(f, t.forces) for f, (_, t) in zip(torch.split(evaluated.forces, sizes), batch, strict=True)]
        errors = torch.cat([f - target for f, target in pairs if target is not None])
        total = total + model.forces_weight * torch.mean(errors**2)
    if evaluated.strain_derivatives is not None:
        rows = [k for k, (_, t) in enumerate(batch) if t.strain is not None]
        errors = evaluated.strain_derivatives[rows] - torch.stack([t.strain for _, t in batch if t.strain is not None])
        atoms = errors.new_tensor([sizes[k] for k in rows])[:, None, None]
        total = total + model.stress_weight * torch.mean(errors**2 / atoms)
    return total


def _evaluate_batch(network: torch.nn.Module, batch: Sequence[Example], model: GraphModel, training: bool) -> Tensor:
    forces = model.forces_weight > 0 and any(t.forces is not None for _, t in batch)
    stress = any(t.strain is not None for _, t in batch)
    graph = join([graph for graph, _ in batch], model.cutoff)
    evaluated = evaluate(network, graph, forces=forces, stress=stress, training=training)
    return batch_loss(evaluated, batch, model)


def _mean_loss(network: torch.nn.Module, data: Sequence[Example], model: GraphModel) -> float:
    """Return the mean loss over frames, without training."""
    total = 0.0
    for start in range(0, len(data), model.batch_size):
        batch = data[start : start + model.batch_size]
        total += len(batch) * float(_evaluate_batch(network, batch, model, training=False).detach())
    return total / len(data)


class _Average:
    """Exponential moving average of the weights."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.decay, self.steps = decay, 0
        self.values = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Take in the weights of now; the first steps are forgotten sooner."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for value, parameter in zip(self.values, self.parameters, strict=True):
            value.lerp_(parameter.detach(), 1 - decay)

    def swap(self) -> None:
        """Exchange weights and averages."""
        for index, parameter in enumerate(self.parameters):
            kept = parameter.detach().clone()
            parameter.data.copy_(self.values[index])
            self.values[index] = kept


def learning_rate(model: GraphModel, progress: float) -> float:
    """Return the learning rate after a share of training: up over the first 2 %, down a cosine to a hundredth."""
    warm = min(1.0, (progress + 1e-3) / 0.02)
    return model.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def train(
    network: torch.nn.Module, training: Sequence[Example], validation: Sequence[Example], model: GraphModel, *,
    rng: np.random.Generator, progress: Callable[[Epoch], None] | None = None,
) -> Outcome:  # fmt: skip
    """Train a network in place; it ends with the weights that did best on ``validation``.

    Where the time is limited, the epochs that fit are estimated anew after each, and the learning rate falls to its end
    within them.
    """
    with quiet(DTYPES[model.precision]):
        return _train(network, training, validation, model, rng, progress)


def _train(
    network: torch.nn.Module, training: Sequence[Example], validation: Sequence[Example], model: GraphModel,
    rng: np.random.Generator, progress: Callable[[Epoch], None] | None,
) -> Outcome:  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay)
    average = _Average(network, model.ema_decay)
    outcome, best_loss, best_weights = Outcome(), math.inf, None
    started, number, planned = time.perf_counter(), 0, model.epochs
    network.train()
    while number < planned:
        loss = _epoch(network, optimizer, average, training, model, rng, (number, planned))
        number += 1
        average.swap()
        checked = _mean_loss(network, validation, model) if validation else None
        if checked is not None and checked < best_loss:
            best_loss, outcome.best, best_weights = checked, number, _copy(network)
        average.swap()
        seconds = time.perf_counter() - started
        rate = optimizer.param_groups[0]["lr"]
        outcome.epochs.append(Epoch(number, planned, loss, checked, rate, seconds))
        _tell(outcome.epochs[-1], progress)
        if not math.isfinite(loss):
            outcome.ended = "because the loss was no longer finite"
            break
        if validation and number - outcome.best >= model.patience:
            outcome.ended = f"early: no better for {model.patience} epochs"
            break
        if model.max_minutes is not None:
            fit = int(60 * model.max_minutes / (seconds / number))
            if fit < planned:
                outcome.ended = f"at the limit of {model.max_minutes:g} minutes"
            planned = min(model.epochs, max(fit, number))
    if best_weights is not None:
        network.load_state_dict(best_weights)
    else:
        average.swap()
        outcome.best = number
    network.eval()
    return outcome


def _epoch(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, average: _Average, training: Sequence[Example],
    model: GraphModel, rng: np.random.Generator, epoch: tuple[int, int],
) -> float:  # fmt: skip
    """Go through the training set once, in random order, and return the mean loss on the way."""
    order = rng.permutation(len(training))
    batches = math.ceil(len(order) / model.batch_size)
    total = 0.0
    for step in range(batches):
        batch = [training[i] for i in order[step * model.batch_size : (step + 1) * model.batch_size]]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(model, (epoch[0] + step / batches) / epoch[1])
        optimizer.zero_grad()
        loss = _evaluate_batch(network, batch, model, training=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), model.gradient_clip)
        optimizer.step()
        average.update()
        total += len(batch) * float(loss.detach())
    return total / len(order)


def _copy(network: torch.nn.Module) -> Mapping[str, Any]:
    return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in network.state_dict().items()}


def _tell(epoch: Epoch, progress: Callable[[Epoch], None] | None) -> None:
    checked = "" if epoch.validation_loss is None else f", validation {epoch.validation_loss:.4g}"
    done = (epoch.number, epoch.planned, epoch.training_loss, checked, epoch.seconds)
    log.info("epoch %d of %d: loss %.4g%s, %.0f s", *done)
    if progress is not None:
        progress(epoch)
