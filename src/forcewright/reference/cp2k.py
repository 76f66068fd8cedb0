"""CP2K through ASE's interface to its shell: density functional theory in Gaussians and plane waves.

Every structure gets a process of its own in a folder of its own, so that labels do not depend on what was computed
before. The program is found by name: ``cp2k_shell`` or ``cp2k.psmp -s`` (Debian's package cp2k has both).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, SCFError, all_changes
from ase.calculators.cp2k import CP2K, Cp2kShell

from forcewright.errors import InputError
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.checks import Scope
from forcewright.reference.identity import hash_settings, version_of

#: Programs looked for, with the arguments that make them a shell.
PROGRAMS = (
    ("cp2k_shell",), ("cp2k_shell.psmp",), ("cp2k_shell.ssmp",), ("cp2k.psmp", "-s"), ("cp2k.ssmp", "-s"),
)  # fmt: skip
_OUTPUT = "cp2k.out"
_COMPLAINTS = "cp2k.err"
_NOT_CONVERGED = re.compile(r"SCF run NOT converged", re.IGNORECASE)


class Cp2kCalculator(CP2K):
    """ASE's CP2K calculator, started from a list of arguments in a scratch folder, that refuses unconverged cycles.

    Parameters
    ----------
    command
        The program and its arguments.
    settings
        Parameters of `ase.calculators.cp2k.CP2K`.
    """

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="forcewright-cp2k-", ignore_cleanup_errors=True)
        self._debug, self._force_env_id = False, None
        self._shell: Any = None
        self.label: Any = None
        self.parameters: Any = None
        self.results: Any = None
        self.atoms: Any = None
        self.command = list(command)
        Calculator.__init__(self, label="cp2k", **settings)  # type: ignore[no-untyped-call]  # CP2K's own starts a shell
        try:
            self._shell = _Shell(self.command, Path(self._scratch.name))
        except Exception:
            self._scratch.cleanup()
            raise

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:  # fmt: skip
        """Compute everything at once.

        Raises SCFError if the self-consistent cycle does not converge, and CalculationFailed with CP2K's own words if
        it ends with an error.
        """
        try:
            super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        except (AssertionError, ValueError, OSError) as error:  # what ASE's shell raises when the program is gone
            self._refuse_unconverged()
            if words := self._last_words():
                raise CalculationFailed(f"CP2K ended with an error: {words}") from None
            raise RuntimeError(f"CP2K ended without a word ({error})") from None
        self._refuse_unconverged()

    def _refuse_unconverged(self) -> None:
        if _NOT_CONVERGED.search(self._output()):
            raise SCFError(f"the self-consistent cycle did not converge in {self.parameters.max_scf} steps")

    def _output(self) -> str:
        path = Path(self._scratch.name) / _OUTPUT
        return path.read_text(errors="replace") if path.is_file() else ""

    def _last_words(self) -> str:
        """Return what stands in the box with which CP2K aborts."""
        output = self._output() + (self._shell.last_words() if self._shell is not None else "")
        lines = (line for line in output.splitlines() if "*" in line)
        boxed = (re.sub(r"[*\\/_|()-]{2,}|^[ *\\/|]+|[ *|]+$", " ", line) for line in lines)
        return " ".join(" ".join(boxed).split()).rpartition("[ABORT]")[2].strip(" *")

    def close(self) -> None:
        """End the program and remove its folder."""
        shell, self._shell, self._force_env_id = self._shell, None, None
        if shell is not None:
            shell.close()
        self._scratch.cleanup()


class _Shell(Cp2kShell):
    """CP2K's shell, started from a list of arguments in a folder."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.isready, self.version, self._debug = False, 1.0, False
        self._child: Any = None
        try:
            with (folder / _COMPLAINTS).open("wb") as complaints:  # not among the answers
                self._child = subprocess.Popen(
                    list(command), cwd=folder, text=True, bufsize=1,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
                )  # fmt: skip
        except OSError as error:
            raise InputError(f"{command[0]!r} cannot be started: {error}", field="cp2k.command") from None
        self._greet(command)

    def _greet(self, command: Sequence[str]) -> None:
        """Read up to the first prompt, ask for the version and have the shell end at any error."""
        lines = []
        for line in self._child.stdout:
            lines.append(line.strip())
            if lines[-1] == "* READY":
                break
        else:
            self.close()
            last = next((text for text in reversed(lines) if text), "it says nothing")
            raise InputError(f"{' '.join(command)!r} is not a CP2K shell: {last}", field="cp2k.command")
        self.isready = True
        shell: Any = self
        shell.send("VERSION")
        self.version = float(shell.recv().rsplit(":", 1)[1])
        shell.expect("* READY")
        shell.send("HARSH")
        shell.expect("* READY")

    def last_words(self) -> str:
        """Return what a program that is ending says yet."""
        self._child.stdin.close()
        return str(self._child.stdout.read())

    def close(self) -> None:
        """End the program, kindly where it listens."""
        child, self._child = getattr(self, "_child", None), None
        if child is None:
            return
        if self.isready and child.poll() is None and not child.stdin.closed:
            child.stdin.write("EXIT\n")
            child.stdin.flush()
        else:
            child.kill()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stdout):
            with suppress(OSError):  # the program is gone, and what was to be written with it
                stream.close()


@dataclass(frozen=True)
class Cp2kFactory:
    """Makes `Cp2kCalculator`s; travels to worker processes."""

    command: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Cp2kCalculator:
        """Return a new calculator with a process of its own."""
        return Cp2kCalculator(self.command, self.settings)


def find_program(command: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the command of CP2K's shell, the given one or the first of `PROGRAMS`; `InputError` if not installed."""
    for candidate in [tuple(command)] if command else PROGRAMS:
        if shutil.which(candidate[0]):
            return candidate
    wanted = command[0] if command else " nor ".join(words[0] for words in PROGRAMS)
    raise InputError(
        f"the program {wanted} is not installed (Debian: apt install cp2k); give its command as a list, such as "
        "[cp2k.psmp, -s]",
        field="cp2k.command",
    )


def cp2k_reference(
    settings: Mapping[str, Any] | None = None, command: Sequence[str] | None = None
) -> CalculatorReference:
    """Return CP2K as a reference.

    Parameters
    ----------
    settings
        Parameters of `ase.calculators.cp2k.CP2K`: ``basis_set``, ``xc``, ``cutoff`` (eV), ``inp`` and so on.
    command
        The program and its arguments, where it is not found by itself.

    Raises
    ------
    InputError
        If the program is not installed, is not a CP2K shell, or a setting is not known.
    """
    parameters = dict(settings or {})
    known = CP2K.default_parameters
    if unknown := [name for name in parameters if name not in known]:
        raise InputError(
            f"{unknown[0]!r} is not known; allowed are {', '.join(sorted(known))}; "
            "everything else of CP2K goes into inp",
            field="cp2k",
        )
    parameters = {"print_level": "LOW", **parameters, "auto_write": False}
    words = find_program(command)
    identity = hash_settings("cp2k", {**parameters, "program": program_version(words), "ase": version_of("ase")})
    Cp2kCalculator(words, parameters).close()  # whether it works shows now, and not after an hour
    name = f"CP2K ({parameters.get('xc', known['xc'])}, {parameters.get('basis_set', known['basis_set'])})"
    scope = Scope(_number(parameters, "charge") or 0.0, int(_number(parameters, "multiplicity") or 0) or None)
    return CalculatorReference(name, Cp2kFactory(words, parameters), identity, scope=scope)


def _number(parameters: Mapping[str, Any], name: str) -> float | None:
    """Return a parameter, or what the input itself says."""
    said = re.search(rf"^\s*{name}\s+(-?\d+)", str(parameters.get("inp", "")), re.IGNORECASE | re.MULTILINE)
    value = said[1] if said else parameters.get(name)
    return None if value is None else float(value)


def program_version(command: Sequence[str]) -> str:
    """Return what the program says of its version."""
    try:
        answer = subprocess.run(
            [command[0], "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    version = re.search(r"CP2K version\s+(\S+)", answer.stdout)
    return version[1] if version else "unknown"
