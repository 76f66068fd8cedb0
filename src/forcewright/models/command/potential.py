"""A potential that a program of somebody else evaluates, or a calculator of ASE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.data.extxyz import read_extxyz
from forcewright.data.raw import RawFrame
from forcewright.errors import InputError
from forcewright.files import lasting_scratch_folder, scratch_folder
from forcewright.models.ase_calculator import calculator_factory
from forcewright.models.command.template import Value, fill, fill_within, placeholders, plain_value
from forcewright.models.running import run
from forcewright.models.storage import PotentialFolder, hashes_of, write_files, write_potential
from forcewright.models.training_files import LabelNames, write_training_file
from forcewright.plain_data import number
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import Dataset, FloatArray, Frame, Labels, Structure, from_voigt
from forcewright.threads import thread_count

_LOG = "logs/fit.log"  # in a folder of its own: it holds times, and decides nothing


class Predicting(StrictModel):
    """How a potential is evaluated: exactly one of ase and command."""

    ase: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """Module and name of something that returns an ASE calculator."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments for it; a text that is nothing but a placeholder becomes the value."""
    command: tuple[str, ...] = ()
    """Program and arguments; it reads ${structures} and writes ${predictions}, both extended XYZ."""
    labels: LabelNames = LabelNames(stress="stress")
    """Names of the energy, forces and stress or virial in the predictions."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Seconds after which the program is stopped."""

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Self:
        if (self.ase is None) == (not self.command):
            raise ValueError('needs {ase: "module:factory", kwargs: ...} or {command: [...]}, and one of them only')
        if self.kwargs and self.ase is None:
            raise ValueError("kwargs are for ase")
        if not self.labels.energy:
            raise ValueError("labels.energy is missing; predictions need an energy")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class CommandPotential(PotentialBase):
    """A potential of files that only its own program understands.

    Parameters
    ----------
    species
        Atomic numbers it was fitted to, ascending.
    cutoff
        Range in Å.
    files
        What the fit wrote, by name.
    predicting
        How it is evaluated.
    values
        What placeholders in it stand for, beside the files.
    log
        What the program of the fit said.
    """

    species: tuple[int, ...]
    cutoff: float
    files: Mapping[str, bytes] = field(repr=False)
    predicting: Predicting
    values: Mapping[str, Value]
    log: str = field(default="", repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements; the stress is None also where the program gives none.

        Raises
        ------
        InputError
            If the program or calculator fails.
        """
        if not structures:
            return []
        if self.predicting.command:
            return self._predict_with_program(structures, forces, stress)
        return [self._predict_with_calculator(structure, forces, stress) for structure in structures]

    def describe_size(self) -> str:
        """Return what evaluates it."""
        program = self.predicting.command[0] if self.predicting.command else self.predicting.ase
        return f"evaluated by {program}"

    def _predict_with_calculator(self, structure: Structure, forces: bool, stress: bool) -> Prediction:
        atoms: Any = structure.to_ase()
        atoms.calc = self._calculator
        try:
            energy = float(atoms.get_potential_energy())
            force = np.array(atoms.get_forces(), dtype=np.float64) if forces else None
            tension = self._stress(atoms) if stress and structure.volume > 0 else None
        except Exception as error:  # anything may go wrong in somebody else's code
            raise InputError(
                f"{self.predicting.ase} fails for {structure.formula}: {error}", field="model.predict.ase"
            ) from error
        return Prediction(energy, force, tension)

    @staticmethod
    def _stress(atoms: Any) -> FloatArray | None:
        try:
            return from_voigt(atoms.get_stress())
        except (PropertyNotImplementedError, NotImplementedError):
            return None

    def _predict_with_program(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        with scratch_folder("predict") as folder:
            asked, answered = folder / "structures.extxyz", folder / "predictions.extxyz"
            write_training_file(Dataset(tuple(Frame(s, Labels()) for s in structures)), asked, LabelNames(group=None))
            values = {**self._all_values, "structures": str(asked), "predictions": str(answered)}
            arguments = [fill(text, values, "model.predict.command") for text in self.predicting.command]
            run(
                arguments, folder=folder, log=folder / "log", threads=thread_count(),
                timeout_s=self.predicting.timeout_s, field="model.predict.command",
            )  # fmt: skip
            return self._read(answered, structures, forces, stress)

    def _read(self, path: Path, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        name = f"the program {Path(self.predicting.command[0]).name}"
        if not path.is_file():
            raise InputError(f"{name} ended well but wrote no predictions", field="model.predict.command")
        frames = list(read_extxyz(path))
        if len(frames) != len(structures):
            raise InputError(
                f"{name} wrote {len(frames)} frames for {len(structures)} structures", field="model.predict.command"
            )
        predictions = []
        for index, (frame, structure) in enumerate(zip(frames, structures, strict=True)):
            if isinstance(frame, InputError):
                raise frame
            try:
                predictions.append(self._prediction(frame, structure, forces, stress))
            except (KeyError, TypeError, ValueError, InputError) as error:
                reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
                raise InputError(
                    f"{name} wrote predictions that cannot be used: {reason}", frame=index, field="model.predict.labels"
                ) from None
        return predictions

    def _prediction(self, frame: RawFrame, structure: Structure, forces: bool, stress: bool) -> Prediction:
        names = self.predicting.labels
        if not np.array_equal(frame.structure.numbers, structure.numbers):
            raise ValueError("its elements are not those of the structure, in their order")
        force = tension = None
        if forces and names.forces:
            force = np.array(frame.arrays[names.forces], dtype=np.float64)
            if force.shape != (len(structure), 3):
                raise ValueError(f"forces have shape {force.shape}, expected {(len(structure), 3)}")
        if stress and structure.volume > 0 and names.virial:
            tension = -from_voigt(frame.info[names.virial]) / structure.volume
        elif stress and structure.volume > 0 and names.stress and names.stress in frame.info:
            tension = from_voigt(frame.info[names.stress])
        prediction = Prediction(float(frame.info[str(names.energy)]), force, tension)
        if not all(np.isfinite(part).all() for part in (prediction.energy, force, tension) if part is not None):
            raise ValueError("a number is not finite")
        return prediction

    @cached_property
    def _home(self) -> Path:
        """The folder where its program finds the files; it goes with this object."""
        folder = lasting_scratch_folder("potential", self)
        write_files(folder, self.files)
        return folder

    @property
    def _all_values(self) -> dict[str, Value]:
        return {**self.values, "threads": thread_count(), "potential": str(self._home)}

    @cached_property
    def _calculator(self) -> Any:
        home = str(self.predicting.ase)
        kwargs = fill_within(self.predicting.kwargs, self._all_values, "model.predict.kwargs")
        try:
            # whoever runs the config, or loads what it fitted, has agreed to what the family runs
            factory = calculator_factory(home, field="model.predict.ase", allowed=True)
        except ImportError as error:
            raise InputError(
                f"{home} cannot be imported ({error}); install it, or put its folder on PYTHONPATH",
                field="model.predict.ase",
            ) from None
        try:
            return factory(**kwargs)
        except Exception as error:  # anything may go wrong in somebody else's code
            raise InputError(
                f"{home} does not work with these kwargs: {error}", field="model.predict.kwargs"
            ) from error

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json``, the files of the fit and its log."""
        content = {
            "species": [chemical_symbols[z] for z in self.species], "cutoff": self.cutoff,
            "files": hashes_of(self.files), "predict": self.predicting.model_dump(), "values": dict(self.values),
            "provenance": dict(self.provenance),
        }  # fmt: skip
        return write_potential(folder, "command", content, files={**self.files, _LOG: self.log.encode()})

    @classmethod
    def load(cls, folder: Path) -> CommandPotential:
        """Read a folder written by `save`; whether it may be is for `forcewright.models.load` to ask."""
        with PotentialFolder(folder, "command") as saved:
            predicting = Predicting.model_validate(saved.content["predict"])
            cutoff = number(saved.content["cutoff"], "cutoff", above=0)
            values = {str(name): plain_value(value) for name, value in saved.content["values"].items()}
            return cls(saved.species, cutoff, saved.files(), predicting, values, saved.text(_LOG), saved.provenance)


def describe_program(content: Mapping[str, object]) -> str:
    """Return in words what a saved potential runs when it predicts; ValueError if its content is damaged."""
    predicting = Predicting.model_validate(content.get("predict"))
    if predicting.command:
        return f"runs {' '.join(predicting.command)!r}"
    return f"calls {predicting.ase!r}" + (f" with {predicting.kwargs}" if predicting.kwargs else "")


def runs_as_stated(model: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    """Return whether a saved potential runs nothing but what the model of a config says.

    What decides that are the program or calculator with its arguments, the values of their placeholders, and the files
    beside them that the config writes itself. What a fit has written cannot be told from what somebody has put there.

    Parameters
    ----------
    model
        ``model`` of a config; where it has a range any number, or any of the choices, will do.
    content
        That of ``potential.json``.
    """
    stated, saved = model.get("predict"), content.get("predict")
    if not isinstance(stated, Mapping) or not isinstance(saved, Mapping) or not set(stated) <= set(saved):
        return False
    usual: dict[str, Any] = {key: known.default for key, known in Predicting.model_fields.items()}
    labels = LabelNames.model_validate(stated["labels"]) if "labels" in stated else usual["labels"]
    expected = {**usual, "kwargs": {}, **stated, "labels": labels.model_dump()}
    values = {**_mapping(model.get("parameters")), **_mapping(model.get("integers")), "cutoff": model.get("cutoff")}
    species = " ".join(content.get("species", ()))
    texts = {name: text for name, text in _mapping(model.get("files")).items() if not placeholders(str(text))}
    written = hashes_of({name: fill(str(text), {}).encode() for name, text in texts.items()})
    kept = _mapping(content.get("files"))
    return (
        _agrees(expected, saved)
        and all(_agrees(values.get(name), value) or (name, value) == ("species", species)
                for name, value in _mapping(content.get("values")).items())
        and all(kept[name] == written[name] for name in written if name in kept)
    )  # fmt: skip


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _agrees(stated: Any, saved: Any) -> bool:
    """Return whether what was saved is what a config states, or lies in the range it states."""
    if isinstance(stated, Mapping) and "choices" in stated:
        return saved in stated["choices"]
    if isinstance(stated, Mapping) and {"low", "high"} & set(stated):
        return isinstance(saved, int | float)
    if isinstance(stated, Mapping):
        return isinstance(saved, Mapping) and set(stated) == set(saved) and all(
            _agrees(stated[key], saved[key]) for key in stated
        )  # fmt: skip
    if isinstance(stated, list | tuple):
        return isinstance(saved, list | tuple) and len(stated) == len(saved) and all(
            map(_agrees, stated, saved)
        )  # fmt: skip
    return bool(stated == saved)
