"""Structure and dynamics of trajectories: frames in, frozen results of named arrays out."""

from __future__ import annotations
