"""Graph networks through graph-pes: SchNet, PaiNN, TensorNet, NequIP and MACE (extra ``graph``).

The energy is Σ_i [offset(Z_i) + scale · network_i], with forces and stress as its exact derivatives. ``scale`` is the
root mean square of the force components of the training set; the offsets are energies of isolated atoms or a fit to
the composition.
"""

from forcewright.models.family import Family
from forcewright.models.graph.hyperparameters import GraphModel
from forcewright.models.graph.potential import GraphPotential

FAMILY = Family(
    kind="graph", hyperparameters=GraphModel, load=GraphPotential.load, shrink="batch_size or channels", extra="graph",
    packages=(("torch", "torch"), ("graph_pes", "graph-pes")),
)  # fmt: skip

__all__ = ["FAMILY", "GraphModel", "GraphPotential"]
