"""Pretrained models that ship inside the packages that run them, by name: ``{pretrained: chgnet}``."""

from forcewright.models.family import PotentialKind
from forcewright.models.pretrained.potential import PretrainedPotential
from forcewright.models.pretrained.registry import PRETRAINED, Pretrained, pretrained_named

KIND = PotentialKind(kind="pretrained", load=PretrainedPotential.load)

__all__ = ["KIND", "PRETRAINED", "Pretrained", "PretrainedPotential", "pretrained_named"]
