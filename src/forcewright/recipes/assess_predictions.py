"""What models say of the frames of sets: read from files under stated keys, or computed, once for each content."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forcewright.accuracy.assessment import LabelledSet, ModelPredictions, stacked_forces
from forcewright.data.formats import FORMATS, find_format
from forcewright.data.labelling import UNREAD, label_frame
from forcewright.data.raw import RawFrame
from forcewright.errors import InputError
from forcewright.potential import Reference
from forcewright.recipes.assess_config import ModelSettings
from forcewright.reference import Progress, label_all, potential_reference, reference_from
from forcewright.structure import FloatArray, Labels

log = logging.getLogger("forcewright")

_MOVED = 1e-3  # Å between a frame of a set and the one that a prediction is of


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says of a set.

    Attributes
    ----------
    predictions
        None where it says nothing of it.
    missing
        Keys that no frame has.
    failure
        What could not be computed and why, in a sentence; empty where nothing is.
    """

    predictions: ModelPredictions | None
    missing: tuple[str, ...] = ()
    failure: str = ""


class RawFiles:
    """Frames of files with all their keys, read once."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, ...], list[tuple[RawFrame, Path, int]]] = {}

    def frames(self, files: Sequence[Path]) -> list[tuple[RawFrame, Path, int]]:
        """Return the frames of files, with the file and the number of each in it.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        key = tuple(files)
        if key not in self._read:
            frames = []
            for path in files:
                if not path.is_file():
                    raise InputError("does not exist", file=path)
                for number, raw in enumerate(FORMATS[find_format(path, None)].read(path)):
                    if isinstance(raw, InputError):
                        raise raw
                    frames.append((raw, path, number))
            self._read[key] = frames
        return self._read[key]


def stored_predictions(
    part: LabelledSet, keys: Sequence[Mapping[str, str]], files: Sequence[Path], raw_files: RawFiles
) -> Said:
    """Read the predictions of a set.

    Parameters
    ----------
    keys
        Keys of ``energy`` and ``forces``, for each seed.
    files
        Where they stand: those of the set, or others with the same frames.

    Raises
    ------
    InputError
        If a frame lacks what others have, is another than that of the set, or a value is not usable; names file, frame
        and key.
    """
    frames = raw_files.frames(files)
    if len(frames) != len(part.dataset):
        raise InputError(
            f"holds {len(frames)} frames, and the set {part.name} {len(part.dataset)}; predictions need the frames of "
            "the set, in their order", file=files[0],
        )  # fmt: skip
    for index, (raw, file, number) in enumerate(frames):
        structure = part.dataset[index].structure
        if not np.array_equal(raw.structure.numbers, structure.numbers) or (
            np.abs(raw.structure.positions - structure.positions).max(initial=0.0) > _MOVED
        ):
            raise InputError(
                f"is another structure than frame {index} of the set {part.name}; predictions need the frames of the "
                "set, in their order", file=file, frame=number, field="positions",
            )  # fmt: skip
    energies = np.full((len(keys), len(frames)), np.nan)
    forces, missing = [], set()
    for seed, mapping in enumerate(keys):
        labels = [_labelled(raw, file, number, mapping) for raw, file, number in frames]
        for name, key in mapping.items():
            absent = [index for index, known in enumerate(labels) if getattr(known, name) is None]
            if absent and len(absent) < len(labels):
                _, file, number = frames[absent[0]]
                raise InputError(
                    f"is missing, and {len(labels) - len(absent)} other frames have it; predict all frames of a set, "
                    "or leave the set out", file=file, frame=number, field=key,
                )  # fmt: skip
            if absent:
                missing.add(key)
        energies[seed] = [np.nan if known.energy is None else known.energy for known in labels]
        forces.append(stacked_forces([known.forces for known in labels], part.sizes))
    known = np.isfinite(energies).any() or np.isfinite(forces).any()
    return Said(ModelPredictions(energies, np.array(forces)) if known else None, tuple(sorted(missing)))


def _labelled(raw: RawFrame, file: Path, number: int, mapping: Mapping[str, str]) -> Labels:
    everything = {"energy": UNREAD, "forces": UNREAD, "stress": UNREAD, **mapping}
    try:
        labels = label_frame(raw, everything).labels
    except InputError as error:
        raise InputError(error.problem, file=file, frame=number, field=error.field) from None
    for name in mapping:
        value = getattr(labels, name)
        if value is not None and not np.isfinite(value).all():
            raise InputError("is not finite", file=file, frame=number, field=mapping[name])
    return labels


def computed_predictions(
    part: LabelledSet, references: Sequence[Reference], cache: Path, workers: int, on_done: Callable[[Progress], None]
) -> Said:
    """Predict a set by references, one for each seed; what is in the cache is not computed again.

    A frame that fails is left out, and told; the others count.
    """
    energies: list[FloatArray] = []
    forces: list[FloatArray] = []
    notes = []
    for reference in references:
        made = label_all(reference, part.dataset, cache=cache, workers=workers, on_done=on_done)
        labels = [result if isinstance(result, Labels) else Labels() for result in made.results]
        energies.append(np.array([np.nan if known.energy is None else known.energy for known in labels]))
        forces.append(stacked_forces([known.forces for known in labels], part.sizes))
        failed = {**made.failures, **made.pending}
        if failed:
            first = min(failed)
            notes.append(
                f"{len(failed)} of {len(part.dataset)} frames have no prediction; frame {first}: {failed[first].reason}"
            )
    known = np.isfinite(energies).any()
    return Said(ModelPredictions(np.array(energies), np.array(forces)) if known else None, failure="".join(notes[:1]))


def references_of(name: str, model: ModelSettings, base: Path) -> list[Reference]:
    """Return what computes the predictions of a model, one for each of its seeds.

    Raises
    ------
    InputError
        If it cannot be read or used; names the model.
    MissingExtraError
        If it needs a package that is not installed.
    """
    try:
        if model.computed is not None:
            return [reference_from(model.computed, base)]
        return [potential_reference(base / path) for path in model.potential]
    except InputError as error:
        rest = (error.field or "").removeprefix("reference").removeprefix(".")
        field = ".".join(filter(None, ["models", name, rest]))
        raise InputError(error.problem, file=error.file, field=field) from None
