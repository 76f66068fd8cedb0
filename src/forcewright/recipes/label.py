"""Label structures with a reference: one YAML, one file of labelled structures, and a list of what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from forcewright.data import FORMATS, dataset_of, write
from forcewright.data.formats import find_format
from forcewright.data.raw import Columns
from forcewright.errors import InputError
from forcewright.execution.settings import ExecutorSettings, executor_from
from forcewright.files import write_table, writing
from forcewright.potential import Failure
from forcewright.recipes.reading import read_structures
from forcewright.recipes.run_folder import read_config, with_absolute_paths
from forcewright.reference import Labelling, Progress, ReferenceSettings, VaspReference, label_all, reference_from
from forcewright.reference.properties import PER_ATOM
from forcewright.structure import Dataset
from forcewright.tables import Tabular


def _files_or_dataset(value: Any) -> Any:
    """Take one name of a file for a list, and structures in memory for a dataset."""
    several = [value] if isinstance(value, str | Path) or not isinstance(value, Sequence) else value
    return several if all(isinstance(item, str | Path) for item in several) else dataset_of(value)


class LabelConfig(BaseModel):
    """Everything `forcewright label` needs; paths are relative to the config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reference: ReferenceSettings
    """What labels: one of {xtb: GFN1-xTB}, {lammps: ...}, {ase: ...}, {cp2k: ...}, {espresso: ...}, {pyscf: ...},
    {vasp: ...}, {pretrained: chgnet}, {potential: path}."""
    structures: Annotated[list[Path] | InstanceOf[Dataset], BeforeValidator(_files_or_dataset)]
    """File or files of structures; labels in them are not looked at, groups and origins stay. In Python also ASE atoms
    or a dataset."""
    output: Path | None = None
    """File of labelled structures; its ending decides the format. Needed in a file."""
    workers: int = Field(default=1, ge=1)
    """Structures computed at the same time, each by one process with one thread."""
    executor: ExecutorSettings = "local"
    """Where they are computed: local (processes of this machine), dask, {dask: {address: …}} or {slurm: {…}}."""
    cache: Path = Path("label-cache")
    """Folder that keeps every label; references share it. Run again to go on where it was stopped. Without output
    labels are kept only where a folder is named."""
    retry_failures: bool = False
    """Try again what failed before in a way that is expected to repeat itself, such as a cycle without convergence."""


@dataclass(frozen=True, repr=False)
class LabelResult(Tabular):
    """What came of labelling.

    Attributes
    ----------
    reference
        Its name.
    dataset
        The labelled structures, without those that failed.
    labelling
        Labels or failure of each structure.
    output
        File of labelled structures; None where there are none.
    failures
        File that lists structures without labels; None where there are none.
    """

    reference: str
    dataset: Dataset
    labelling: Labelling
    output: Path | None
    failures: Path | None

    @property
    def labelled(self) -> int:
        """Number of labelled structures."""
        return len(self.dataset)

    def __repr__(self) -> str:
        return f"LabelResult({self.labelled} of {len(self.labelling.results)} structures labelled by {self.reference})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each labelled structure."""
        return self.dataset.to_rows()

    def __str__(self) -> str:
        """Return a few lines for a terminal: counts, and the first failures by their reason."""
        labelling = self.labelling
        lines = [
            f"{self.labelled} of {len(labelling.results)} structures labelled by {self.reference} "
            f"({labelling.cached} known already) in {labelling.seconds:.0f} s"
        ]
        for name, failures in (("failed", labelling.failures), ("wait for another program", labelling.pending)):
            if failures:
                lines.append(f"{len(failures)} {name}:")
                lines += [f"  structure {index}: {failure.reason}" for index, failure in list(failures.items())[:5]]
                lines += [f"  and {len(failures) - 5} more"] if len(failures) > 5 else []
        if self.failures is not None:
            lines.append(f"all of them: {self.failures}")
        return "\n".join(lines)


def label(
    config: str | Path | Mapping[str, Any] | LabelConfig, *, base: str | Path | None = None,
    on_done: Callable[[Progress], None] | None = None, executor: Any = None,
) -> LabelResult:  # fmt: skip
    """Label structures, and write them where the config names a file; what fails is listed and left out.

    Parameters
    ----------
    config
        A YAML file, its content or its settings.
    base
        Folder that paths are relative to; that of the YAML file, else the current one.
    on_done
        Called after every structure.
    executor
        Where to compute, in place of the config's: ``"dask"``, ``"slurm=PARTITION"`` …

    Raises
    ------
    InputError
        If a setting or a file is not usable.
    MissingExtraError
        If the reference needs a package that is not installed.
    """
    read, folder, file = read_config(LabelConfig, config, base=base)
    settings = with_absolute_paths(read, folder)
    if executor is not None:
        settings = settings.model_copy(update={"executor": executor_from(executor)})
    output = settings.output
    caches = output is not None or "cache" in read.model_fields_set  # nothing is written that nobody asked for
    if output is not None:
        _check_output(output)
    elif file is not None:
        raise InputError("is missing; add it", file=file, field="output")
    reference = reference_from(settings.reference, folder)
    structures = settings.structures
    structures = structures if isinstance(structures, Dataset) else read_structures(structures)
    by_hand = isinstance(reference, VaspReference)  # its folders are its cache, and it computes nothing
    labelling = label_all(
        reference, structures, cache=settings.cache if caches and not by_hand else None,
        workers=0 if by_hand else settings.workers,
        retry_failures=settings.retry_failures, on_done=on_done, executor=settings.executor,
    )  # fmt: skip
    labelled = labelling.dataset(structures, structures.name if output is None else output.stem)
    if output is None:
        return LabelResult(reference.name, labelled, labelling, None, None)
    if len(labelled):
        stripped, columns = _with_columns(labelled, settings.reference.properties, output)
        write(stripped, output, columns=columns)
    listed = _list_failures(output.with_suffix(".failures.csv"), structures, labelling)
    return LabelResult(reference.name, labelled, labelling, output if len(labelled) else None, listed)


def _with_columns(labelled: Dataset, names: Sequence[str], output: Path) -> tuple[Dataset, Columns]:
    """Return the frames without properties of atoms, and those as columns, where the format has any."""
    wanted = [name for name in names if name in PER_ATOM]
    if not wanted or find_format(output, None) not in ("extxyz", "ase-db"):
        return labelled, ()
    columns = [
        {name: np.array(labels.info[name]).reshape(len(structure), -1) for name in wanted}
        for structure, labels, _ in labelled
    ]
    frames = []
    for frame in labelled:
        info = {key: value for key, value in frame.labels.info.items() if key not in wanted}
        frames.append(frame._replace(labels=replace(frame.labels, info=info)))
    return Dataset(tuple(frames), labelled.name, labelled.source), columns


def _check_output(output: Path) -> None:
    """Refuse before hours are spent what cannot be written after them."""
    name = find_format(output, None)
    if FORMATS[name].write is None:
        writable = ", ".join(key for key, entry in FORMATS.items() if entry.write)
        raise InputError(f"{name} files can only be read; write one of {writable}", file=output, field="output")
    if output.is_dir():
        raise InputError("is a folder, expected the name of a file to write", file=output, field="output")
    with writing(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)


def _list_failures(path: Path, structures: Dataset, labelling: Labelling) -> Path | None:
    """Write structures without labels as a table, or remove one that is out of date."""
    without = {index: result for index, result in enumerate(labelling.results) if isinstance(result, Failure)}
    if not without:
        path.unlink(missing_ok=True)
        return None
    rows = [
        {
            "structure": index, "origin": (frame := structures[index]).origin, "formula": frame.structure.formula,
            "group": frame.labels.group, "state": "waits" if failure.pending else "failed", "reason": failure.reason,
        }
        for index, failure in without.items()
    ]  # fmt: skip
    return write_table(path, rows)
