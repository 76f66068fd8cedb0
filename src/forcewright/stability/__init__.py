"""Probe a fitted potential for holes: pairs, packings and dynamics in which atoms fall into what no data have shown."""

from forcewright.stability.probing import Probed, probe

__all__ = ["Probed", "probe"]
