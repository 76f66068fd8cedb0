"""The LAMMPS input that lies beside an exported potential and runs as it stands."""

from __future__ import annotations

from collections.abc import Sequence

_TEMPLATE = """\
# Runs as it stands: lmp -in in.lammps   (LAMMPS with {package}; structure.data holds one structure)
units           metal
atom_style      atomic
boundary        p p p
box             tilt large
read_data       structure.data

{pair}

neighbor        1.0 bin
thermo_style    custom step temp pe ke etotal press pxx pyy pzz pyz pxz pxy
thermo_modify   format float %.12g
thermo          100
run             0

velocity        all create 300.0 4928459 loop geom
fix             nve all nve
timestep        0.001
run             1000
"""


def runnable_input(package: str, pair_commands: Sequence[str]) -> str:
    """Return an input that reads ``structure.data`` and runs 1 ps; ``package`` is what LAMMPS must have."""
    return _TEMPLATE.format(package=package, pair="\n".join(pair_commands))
