"""The data of a study, read from the files its config names, or taken as they are given in Python, and checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forcewright.data import read_with_summary, require_forces, require_sound
from forcewright.errors import InputError
from forcewright.models import potential_path
from forcewright.plain_data import read_yaml
from forcewright.recipes.config import TuneConfig
from forcewright.recipes.provenance import file_hashes
from forcewright.reference.identity import potential_files
from forcewright.structure import Dataset

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log


@dataclass(frozen=True, eq=False)
class Inputs:
    """The data of a study; ``external`` is a separate validation set, ``hashes`` those of the files by name."""

    train: Dataset
    test: Dataset | None = None
    external: Dataset | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)

    def require_sound(self) -> None:
        """Refuse what would spoil a fit.

        Raises
        ------
        InputError
            Names file, frame and field.
        """
        for dataset in (self.train, self.test, self.external):
            if dataset is not None:
                require_sound(dataset)


def _refuse_simulated(path: Path, labels: Mapping[str, str]) -> None:
    """Raise an InputError for the trajectory of a simulation with a potential, unless its energies are named."""
    settings = path.parent / "config.resolved.yaml"
    if "energy" in labels or path.stem not in ("trajectory", "final") or not settings.is_file():
        return
    try:
        content = read_yaml(settings)
    except InputError:  # of something else
        return
    if {"potential", "stages"} <= set(content) and isinstance(content["potential"], str):
        potential = "/".join(Path(content["potential"]).parts[-2:])
        raise InputError(
            f"holds what the potential {potential} predicted in a simulation, and no reference; label its "
            "frames (`forcewright label`), or name them: data: {labels: {energy: energy}}", file=path, field="energy",
        )  # fmt: skip


def baseline_files(config: TuneConfig) -> list[Path]:
    """Return the files of a saved potential that a study is fitted on top of."""
    if not isinstance(config.baseline, str) or not (path := potential_path(config.baseline)).exists():
        return []
    return potential_files(path)


def without_groups(train: Dataset, groups: Sequence[str]) -> Dataset:
    """Return training data without some of their groups.

    Raises
    ------
    InputError
        If there is no group of a name, or no frame is left.
    """
    if unknown := [group for group in groups if group not in train.group_sizes]:
        known = ", ".join(train.group_sizes)
        raise InputError(f"names {', '.join(unknown)}; the groups are {known}", field="data.without")
    if not groups:
        return train
    kept = [i for i, group in enumerate(train.groups) if group not in groups]
    if not kept:
        raise InputError("leaves no frame to fit to; name fewer groups", field="data.without")
    log.info("without %s: %d of %d frames are left", ", ".join(groups), len(kept), len(train))
    return train[kept]


def read_inputs(config: TuneConfig) -> Inputs:
    """Read and check all data a config names."""
    hashes: dict[str, str] = {}

    def load(paths: Sequence[Path], name: str) -> Dataset:
        for path in paths:
            _refuse_simulated(path, config.data.labels or {})
        hashes.update(file_hashes(path for path in paths if path.is_file()))  # now: files change while a study runs
        dataset, summary = read_with_summary(list(paths), labels=config.data.labels, strict=not config.data.skip_broken)
        require_sound(dataset)
        log.info("%s: %s\n%s", name, dataset, summary)
        return dataset

    hashes.update(file_hashes(baseline_files(config)))
    sets = {} if config.physics is None else config.physics.sets
    hashes.update(file_hashes(path for paths in sets.values() for path in paths if path.is_file()))
    train = without_groups(load(config.data.train, "train"), config.data.without)
    if "forces" not in config.left_out:
        require_forces(train, config.data.labels)
    test = load(config.data.test, "test") if config.data.test else None
    external = load(config.validation.external, "validation") if config.validation.external else None
    return Inputs(train, test, external, hashes)
