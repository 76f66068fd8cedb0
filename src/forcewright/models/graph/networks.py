"""Networks of graph-pes by name, and their energies, forces and stresses; imported only where graph networks are used.

A network predicts one number per atom; forces and stresses are derivatives of their sum. That is done here and not by
`graph_pes.GraphPESModel.predict`, which knows no left-handed cells and no batches that are half periodic.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from forcewright.neighbors import find_neighbors
from forcewright.structure import Structure

with warnings.catch_warnings():  # e3nn still compiles with torch.jit, and says so a dozen times
    warnings.simplefilter("ignore")
    import e3nn
    from graph_pes import AtomicGraph
    from graph_pes import models as networks
    from graph_pes.models.components.aggregation import ScaledSumNeighbours
    from graph_pes.models.components.distances import PolynomialEnvelope
    from graph_pes.utils.nn import HaddamardProduct

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Evaluated(NamedTuple):
    """What a network says of a batch: energies (S,), forces (N, 3), strain derivatives dE/dε (S, 3, 3)."""

    energies: Tensor
    forces: Tensor | None
    strain_derivatives: Tensor | None


@dataclass(frozen=True, eq=False)
class Graph:
    """One structure as tensors; ``shifts`` (E, 3) are in units of the cell vectors."""

    numbers: Tensor
    positions: Tensor
    cell: Tensor
    edges: Tensor
    shifts: Tensor


@contextmanager
def quiet(dtype: torch.dtype) -> Iterator[None]:
    """Make ``dtype`` the default, for constants that layers make on the way, and keep warnings of torch.jit inside."""
    before, jit = torch.get_default_dtype(), cast(Any, torch.jit)
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings(), jit.optimized_execution(False):  # compiling pays after thousands of calls
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build(settings: Mapping[str, Any], species: Sequence[int], seed: int, neighbors: float) -> torch.nn.Module:
    """Return an untrained network in float64 of an `Architecture`'s ``settings`` that knows ``species``.

    ``seed`` is that of the first weights, and the global generator of torch is left as it was; sums over neighbors are
    divided by ``neighbors``, their mean number.
    """
    make = {"schnet": _schnet, "painn": _painn, "tensornet": _tensornet, "nequip": _nequip, "mace": _mace}
    with torch.random.fork_rng(devices=[]), quiet(torch.float64), _plain_e3nn():
        torch.manual_seed(seed)
        network: torch.nn.Module = make[settings["architecture"]](settings, [chemical_symbols[z] for z in species])
        for module in network.modules():
            if isinstance(module, ScaledSumNeighbours):
                module.scale.data = torch.tensor(neighbors)
        return network.double()


@contextmanager
def _plain_e3nn() -> Iterator[None]:
    """Let e3nn build plain modules: compiling them takes longer than it saves, and its profiling is not repeatable."""
    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(**before)


def _sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that SchNet, PaiNN and TensorNet share."""
    return {name: settings[name] for name in ("cutoff", "channels", "layers")}


def _schnet(settings: Mapping[str, Any], symbols: list[str]) -> Any:
    network = networks.SchNet(**_sizes(settings), expansion_features=settings["radial_features"])
    for block in network.interactions:
        # As published, filters do not vanish at the cutoff: energies would jump when a neighbor leaves.
        block.cfconv.filter_generator = _Enveloped(block.cfconv.filter_generator, settings["cutoff"])
    return network


class _OneHot(torch.nn.Module):
    """The species of atoms as rows of zeros and a one, in the precision of the network."""

    def __init__(self, plain: torch.nn.Module) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, numbers: Tensor) -> Tensor:
        rows: Tensor = self.plain(numbers)
        return rows.to(torch.get_default_dtype())


class _Enveloped(torch.nn.Module):
    """Filters (E, channels) of distances (E,) that go to zero smoothly at the cutoff."""

    def __init__(self, filters: torch.nn.Module, cutoff: float) -> None:
        super().__init__()
        self.product = HaddamardProduct(filters, PolynomialEnvelope(cutoff), left_aligned=True)

    def forward(self, distances: Tensor) -> Tensor:
        product: Tensor = self.product(distances)
        return product


def _painn(settings: Mapping[str, Any], symbols: list[str]) -> Any:
    return networks.PaiNN(**_sizes(settings), radial_features=settings["radial_features"])


def _tensornet(settings: Mapping[str, Any], symbols: list[str]) -> Any:
    return networks.TensorNet(**_sizes(settings), radial_features=settings["radial_features"])


def _nequip(settings: Mapping[str, Any], symbols: list[str]) -> Any:
    network = networks.NequIP(
        symbols, cutoff=settings["cutoff"], layers=settings["layers"], radial_features=settings["radial_features"],
        features={"channels": settings["channels"], "l_max": settings["lmax"], "use_odd_parity": True},
        neighbour_aggregation="constant_fixed",
    )  # fmt: skip
    network.Z_embedding = _OneHot(network.Z_embedding)
    return network


def _mace(settings: Mapping[str, Any], symbols: list[str]) -> Any:
    hidden = " + ".join(f"{order}{'eo'[order % 2]}" for order in range(min(settings["lmax"], 1) + 1))
    network = networks.MACE(
        symbols, cutoff=settings["cutoff"], layers=settings["layers"], n_radial=settings["radial_features"],
        channels=settings["channels"], l_max=settings["lmax"], correlation=settings["correlation"],
        hidden_irreps=hidden,
    )  # fmt: skip
    network.node_attribute_generator = _OneHot(network.node_attribute_generator)
    return network


def to_graph(structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype) -> Graph:
    """Return a structure and its pairs of neighbors as tensors."""
    pairs = find_neighbors(structure, cutoff)
    centers = pairs.centers
    between = structure.positions[pairs.indices] - structure.positions[centers]
    shifts = np.rint((pairs.vectors - between) @ np.linalg.pinv(structure.cell))
    return Graph(
        torch.tensor(structure.numbers, device=device),
        torch.tensor(structure.positions, device=device, dtype=dtype),
        torch.tensor(structure.cell, device=device, dtype=dtype),
        torch.tensor(np.stack([centers, pairs.indices]).astype(np.int64), device=device),
        torch.tensor(shifts, device=device, dtype=dtype),
    )


def join(graphs: Sequence[Graph], cutoff: float) -> AtomicGraph:
    """Return several structures as one graph of graph-pes without edges between them."""
    sizes = [len(graph.numbers) for graph in graphs]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    device = graphs[0].numbers.device
    batch = torch.repeat_interleave(torch.arange(len(graphs), device=device), torch.tensor(sizes, device=device))
    return AtomicGraph(
        Z=torch.cat([g.numbers for g in graphs]), R=torch.cat([g.positions for g in graphs]),
        cell=torch.stack([g.cell for g in graphs]),
        neighbour_list=torch.cat([g.edges + int(s) for g, s in zip(graphs, starts[:-1], strict=True)], dim=1),
        neighbour_cell_offsets=torch.cat([g.shifts for g in graphs]), properties={}, cutoff=cutoff, other={},
        batch=batch, ptr=torch.tensor(starts, device=device),
    )  # fmt: skip


def evaluate(
    network: torch.nn.Module, graph: AtomicGraph, *, forces: bool, stress: bool, training: bool = False
) -> Evaluated:
    """Return energies and their derivatives; with ``training`` these can be differentiated once more.

    The strain ε is symmetric and moves atoms and cell, r → r (1 + ε) (Knuth et al., Comput. Phys. Commun. 190, 33
    (2015)).
    """
    positions = graph.R.detach().requires_grad_(forces or stress)
    strain = torch.zeros_like(graph.cell).requires_grad_(stress)
    moved, cell = positions, graph.cell
    if stress:
        symmetric = (strain + strain.transpose(1, 2)) / 2
        moved = positions + torch.einsum("na,nab->nb", positions, symmetric[graph.batch])
        cell = cell + cell @ symmetric
    with torch.set_grad_enabled(forces or stress or training):
        per_atom = network(graph._replace(R=moved, cell=cell))["local_energies"].reshape(-1)
        energies = torch.zeros(len(cell), dtype=per_atom.dtype, device=per_atom.device)
        energies = energies.index_add(0, graph.batch, per_atom)
    wanted = [tensor for tensor, needed in ((positions, forces), (strain, stress)) if needed]
    if not wanted:
        return Evaluated(energies, None, None)
    derivatives = torch.autograd.grad(
        energies.sum(), wanted, create_graph=training, allow_unused=True, materialize_grads=True
    )
    return Evaluated(energies, -derivatives[0] if forces else None, derivatives[-1] if stress else None)


def predict_batch(
    network: torch.nn.Module, structures: Sequence[Structure], cutoff: float, device: torch.device, dtype: torch.dtype,
    *, forces: bool, stress: bool,
) -> list[tuple[float, np.ndarray | None, np.ndarray | None]]:  # fmt: skip
    """Return energy, forces (N, 3) and strain derivative (3, 3) of each structure in units of the network."""
    with quiet(dtype):
        graph = join([to_graph(structure, cutoff, device, dtype) for structure in structures], cutoff)
        stress = stress and any(structure.volume > 0 for structure in structures)
        evaluated = evaluate(network, graph, forces=forces, stress=stress)
    energies = evaluated.energies.detach().double().cpu().numpy()
    count = len(structures)
    strains = [None] * count if evaluated.strain_derivatives is None else list(_numpy(evaluated.strain_derivatives))
    per_atom: list[Any] = [None] * count
    if evaluated.forces is not None:
        ends = np.cumsum([len(structure) for structure in structures])[:-1]
        per_atom = np.split(_numpy(evaluated.forces), ends)
    return [(float(energies[k]), per_atom[k], strains[k]) for k in range(count)]


def _numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().double().cpu().numpy()
    return array


def weights_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return the tensors of a network as arrays by name."""
    state = network.state_dict()
    return {name: value.detach().cpu().numpy() for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(network: torch.nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Put arrays into a network; RuntimeError if names or shapes are not those of the network."""
    expected = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    if set(expected) != set(weights):
        raise RuntimeError(f"{len(set(expected) ^ set(weights))} tensors are missing or too many")
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, strict=False)
