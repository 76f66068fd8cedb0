"""Any program that fits potentials, described by the list of its arguments and the files it reads and writes.

.. code-block:: yaml

    model:
      kind: command
      parameters: {sigma: {low: 0.01, high: 0.2, log: true}}
      integers: {n_sparse: {low: 100, high: 500}}
      cutoff: 5.0
      labels: {energy: REF_energy, forces: REF_forces, virial: REF_virial}
      fit:
        - gap_fit
        - at_file=${train}
        - gap={soap cutoff=${cutoff} n_sparse=${n_sparse} l_max=6 n_max=8 atom_sigma=0.5 zeta=4 delta=0.3
          covariance_type=dot_product sparse_method=cur_points}
        - e0={Mo:${e0_Mo}}
        - default_sigma={0.001 ${sigma} 0.02 0.0}
        - gp_file=gp.xml
        - rnd_seed=${seed}
      outputs: [gp.xml, gp.xml.sparseX*]
      predict: {ase: "quippy.potential:Potential", kwargs: {param_filename: "${potential}/gp.xml"}}

A configuration with a command runs programs, as a makefile does: read one that you were given before you use it. A
saved potential of this kind runs its part ``predict`` and is read only where commands are allowed (see
`forcewright.models.load`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from forcewright.data.reference_energies import isolated_or_fitted_energies
from forcewright.errors import InputError
from forcewright.files import atomic_write, scratch_folder
from forcewright.models.command.potential import CommandPotential, Predicting
from forcewright.models.command.template import Value, fill, plain_value, require_known, texts_in
from forcewright.models.family import FittedHyperparameters
from forcewright.models.running import last_useful_lines, run
from forcewright.models.storage import plain_name
from forcewright.models.training_files import LabelNames, write_training_file
from forcewright.structure import Dataset
from forcewright.threads import thread_count

_FOR_BOTH = ("cutoff", "threads", "species")
_FOR_FIT = (*_FOR_BOTH, "train", "folder", "seed")
_FOR_PREDICT = (*_FOR_BOTH, "potential", "structures", "predictions")
_E0 = tuple(f"e0_{symbol}" for symbol in chemical_symbols[1:])
_TRAIN = "train.extxyz"


class CommandModel(FittedHyperparameters):
    """A fit by a program of somebody else; a range may stand in the place of every number.

    Placeholders are ``${...}``: the names of parameters and integers, ``cutoff``, ``species`` (symbols with spaces
    between), ``threads``; in ``files`` and ``fit`` also ``train`` (the training data), ``folder`` (where the program
    runs), ``seed`` and ``e0_Mo`` (energy of an isolated atom of each element, or its least-squares estimate, in eV);
    in ``predict`` also ``potential`` (the folder of the outputs), ``structures`` and ``predictions``.
    """

    model_config = ConfigDict(populate_by_name=True)  # read back from where it was written by its own names

    kind: Literal["command"] = "command"
    """The family: a program of yours."""
    parameters: dict[str, Annotated[Any, AfterValidator(plain_value)]] = Field(default_factory=dict)
    """Numbers and texts by name; ranges are of real numbers."""
    integers: dict[str, int] = Field(default_factory=dict)
    """Whole numbers by name; ranges are of whole numbers."""
    cutoff: float = Field(gt=0)
    """Range of the potential in Å."""
    labels: LabelNames = LabelNames(stress="stress")
    """Names of the labels in the training data, which are extended XYZ."""
    files: dict[str, str] = Field(default_factory=dict)
    """Files that are written before the fit: name and text."""
    arguments: tuple[str, ...] = Field(alias="fit", min_length=1)
    """Program, on PATH or with its whole path, and its arguments; no shell reads them."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """Files that make the potential, as names or patterns with * in the folder of the fit."""
    predict: Predicting
    """How the potential is evaluated."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds after which a fit is stopped."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [*self.parameters, *self.integers]
        for name in names:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(f"has a parameter {name!r}; a name has letters, digits and underscores")
            if names.count(name) > 1 or name in {*_FOR_FIT, *_FOR_PREDICT, *_E0}:
                raise ValueError(f"has a parameter {name!r}, a name that is taken; choose another")
        try:
            for name in (*self.files, *self.outputs):
                if plain_name(name, field=None) in (_TRAIN, "potential.json"):
                    raise ValueError(f"names the file {name!r}, a name that is taken; choose another")
            for field, content in (("fit", self.arguments), ("files", self.files)):
                for text in texts_in(content):
                    require_known(text, (*names, *_FOR_FIT, *_E0), field)
            for text in texts_in(self.predict.model_dump()):
                require_known(text, (*names, *_FOR_PREDICT), "predict")
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> CommandPotential:
        """Write the files, run the program and collect its outputs.

        Raises
        ------
        InputError
            If there is nothing to fit to, the program fails, or an output is missing.
        """
        if not any(labels.energy is not None or labels.forces is not None for labels in train.labels):
            raise InputError("no frame has an energy or forces, so there is nothing to fit", file=train.source or None)
        seed = int(rng.integers(1, 2**31 - 1))
        symbols = " ".join(chemical_symbols[z] for z in train.species)
        shared = {**self.parameters, **self.integers, "cutoff": self.cutoff, "species": symbols}
        with scratch_folder("fit") as scratch:
            folder, log = scratch / "fit", scratch / "fit.log"
            folder.mkdir()
            data = write_training_file(train, folder / _TRAIN, self.labels)
            values = {**shared, **self._values_of_fit(train), "train": str(data), "folder": str(folder), "seed": seed}
            for name, text in self.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                atomic_write(folder / name, fill(text, values, f"model.files.{name}"))
            filled = [fill(text, values, "model.fit") for text in self.arguments]
            run(filled, folder=folder, log=log, threads=thread_count(), timeout_s=self.timeout_s, field="model.fit")
            said = log.read_text(encoding="utf-8", errors="replace")
            files = self._collected(folder, said)
        provenance = {"model": self.model_dump(by_alias=True), "seed": seed}
        return CommandPotential(train.species, self.cutoff, files, self.predict, shared, said, provenance)

    def _values_of_fit(self, train: Dataset) -> dict[str, Value]:
        """Return the number of threads, and the energies of isolated atoms where the template names one."""
        values: dict[str, Value] = {"threads": thread_count()}
        if any("${e0_" in text for text in (*self.arguments, *self.files.values())):
            energies = isolated_or_fitted_energies(train).per_species
            values |= {f"e0_{chemical_symbols[z]}": energy for z, energy in energies.items()}
        return values

    def _collected(self, folder: Path, said: str) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for pattern in self.outputs:
            outputs = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())
            if not outputs:
                last_words = " / ".join(last_useful_lines(said)) or "nothing"
                raise InputError(
                    f"{Path(self.arguments[0]).name} ended well but wrote no {pattern!r}; it said: {last_words}",
                    field="model.outputs",
                )
            files |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in outputs}
        return files
