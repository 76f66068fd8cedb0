"""Label structures with a reference: one YAML, one file of labelled structures, and a list of what failed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from forcewright.configs import validate
from forcewright.data import read, write
from forcewright.data.formats import find_format
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.potential import Failure
from forcewright.recipes.config import Paths
from forcewright.recipes.run_folder import read_yaml
from forcewright.reference import Labelling, Progress, ReferenceSettings, VaspReference, label_all, reference_from
from forcewright.structure import Dataset, Frame, Labels
from forcewright.trajectory.reading import snapshots


class LabelConfig(BaseModel):
    """Everything `forcewright label` needs; paths are relative to the config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reference: ReferenceSettings
    """What labels: one of {xtb: GFN1-xTB}, {lammps: ...}, {ase: ...}, {cp2k: ...}, {vasp: ...}, {potential: path}."""
    structures: Paths
    """File or files of structures; labels in them are not looked at, groups and origins stay."""
    output: Path
    """File of labelled structures; its ending decides the format."""
    workers: int = Field(default=1, ge=1)
    """Structures computed at the same time, each by one process with one thread."""
    cache: Path = Path("label-cache")
    """Folder that keeps every label; references share it. Run again to go on where it was stopped."""
    retry_failures: bool = False
    """Try again what failed before in a way that is expected to repeat itself, such as a cycle without convergence."""


@dataclass(frozen=True)
class LabelResult:
    """What came of labelling.

    Attributes
    ----------
    reference
        Its name.
    labelling
        Labels or failure of each structure.
    output
        File of labelled structures; None where there are none.
    failures
        File that lists structures without labels; None where there are none.
    """

    reference: str
    labelling: Labelling
    output: Path | None
    failures: Path | None

    @property
    def labelled(self) -> int:
        """Number of labelled structures."""
        found = self.labelling
        return len(found.results) - len(found.failures) - len(found.pending)

    def __str__(self) -> str:
        """Return a few lines for a terminal: counts, and the first failures by their reason."""
        found = self.labelling
        lines = [
            f"{self.labelled} of {len(found.results)} structures labelled by {self.reference} "
            f"({found.cached} known already) in {found.seconds:.0f} s"
        ]
        for name, some in (("failed", found.failures), ("wait for another program", found.pending)):
            if some:
                lines.append(f"{len(some)} {name}:")
                lines += [f"  structure {index}: {failure.reason}" for index, failure in list(some.items())[:5]]
                lines += [f"  and {len(some) - 5} more"] if len(some) > 5 else []
        if self.failures is not None:
            lines.append(f"all of them: {self.failures}")
        return "\n".join(lines)


def label(
    config: Path | Mapping[str, Any] | LabelConfig,
    *,
    base: Path | None = None,
    on_done: Callable[[Progress], None] | None = None,
) -> LabelResult:
    """Label the structures of files and write them; what fails is listed and left out.

    Parameters
    ----------
    config
        A YAML file, its content or its settings.
    base
        Folder that paths are relative to; that of the YAML file, else the current one.
    on_done
        Called after every structure.

    Raises
    ------
    InputError
        If a setting or a file is not usable.
    MissingExtraError
        If the reference needs a package that is not installed.
    """
    settings, folder = _settings(config, base)
    output = folder / settings.output
    _check_output(output)
    reference = reference_from(settings.reference, folder)
    given = _read_structures([folder / path for path in settings.structures])
    by_hand = isinstance(reference, VaspReference)  # its folders are its cache, and it computes nothing
    found = label_all(
        reference, given, cache=None if by_hand else folder / settings.cache,
        workers=0 if by_hand else settings.workers,
        retry_failures=settings.retry_failures, on_done=on_done,
    )  # fmt: skip
    labelled = found.dataset(given, output.stem)
    if len(labelled):
        write(labelled, output)
    listed = _list_failures(output.with_suffix(".failures.csv"), given, found)
    return LabelResult(reference.name, found, output if len(labelled) else None, listed)


def _settings(config: Path | Mapping[str, Any] | LabelConfig, base: Path | None) -> tuple[LabelConfig, Path]:
    if isinstance(config, LabelConfig):
        return config, base or Path()
    if isinstance(config, Mapping):
        return validate(LabelConfig, dict(config)), base or Path()
    return validate(LabelConfig, read_yaml(Path(config)), Path(config)), base or Path(config).parent


def _read_structures(paths: Sequence[Path]) -> Dataset:
    """Read files of labelled structures, or of any format that ASE or a simulation writes: cif, POSCAR, H5MD."""
    frames: list[Frame] = []
    for path in paths:
        try:
            find_format(path, None)
        except InputError:
            if not path.is_file():
                raise InputError("does not exist", file=path, field="structures") from None
            found = enumerate(snapshots(path))
            frames += [Frame(one.structure, Labels(), f"{path}#{index}") for index, one in found]
        else:
            frames += read(path, require_energy=False)
    return Dataset(tuple(frames), paths[0].stem, ", ".join(map(str, paths)))


def _check_output(output: Path) -> None:
    """Refuse before hours are spent what cannot be written after them."""
    from forcewright.data import FORMATS

    name = find_format(output, None)
    if FORMATS[name].write is None:
        writable = ", ".join(key for key, entry in FORMATS.items() if entry.write)
        raise InputError(f"{name} files can only be read; write one of {writable}", file=output, field="output")
    if output.is_dir():
        raise InputError("is a folder, expected the name of a file to write", file=output, field="output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"its folder cannot be made: {error}", file=output, field="output") from None


def _list_failures(path: Path, given: Dataset, found: Labelling) -> Path | None:
    """Write structures without labels as a table, or remove one that is out of date."""
    without = {index: result for index, result in enumerate(found.results) if isinstance(result, Failure)}
    if not without:
        path.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["structure", "origin", "formula", "group", "state", "reason"])
    for index, failure in without.items():
        frame = given[index]
        state = "waits" if failure.pending else "failed"
        row = [index, frame.origin, frame.structure.formula, frame.labels.group, state, failure.reason]
        table.writerow(row)
    return atomic_write(path, text.getvalue())
