"""Init: look at labelled structures and write a commented config for them, with ranges that fit what they hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.data import audit, read
from forcewright.data.findings import Audit
from forcewright.data.formats import as_sources
from forcewright.data.labelling import UNREAD
from forcewright.data.reference_energies import is_isolated_atom
from forcewright.errors import InputError
from forcewright.files import as_path, atomic_write, writing
from forcewright.models import family_of
from forcewright.neighbors import find_neighbors
from forcewright.plain_data import yaml_line
from forcewright.structure import Dataset
from forcewright.terminal import visible

_SAMPLE = 100  # frames in which nearest neighbors are looked for
_REACH = 6.0  # Å within which they are
_SHELLS = (1.8, 2.5)  # cutoffs in distances of nearest neighbors: from the second shell to beyond the third
_CUTOFFS = (3.0, 7.0)  # Å that cutoffs keep to
_MANY_GROUPS = 8  # above which they share their weights
_SMALL_GROUP = 5  # frames, below which a group's own weights would follow its noise
_FUNCTIONS = (20, 50, 100, 200, 300)
_EQUATIONS = 20  # labels for each function of a linear family
_FOLDS = 5


@dataclass(frozen=True, repr=False)
class InitResult:
    """What came of it.

    Attributes
    ----------
    audit
        What `forcewright.audit` finds in the data.
    config
        The file that was written; None where the data have errors.
    text
        What stands in it, or would.
    """

    audit: Audit
    config: Path | None
    text: str

    def __repr__(self) -> str:
        return f"InitResult({self.config or 'nothing written'}: {self.audit!r})"


def init(
    data: Any, output: str | Path = "config.yaml", *, model: str = "ace", test: Any = None,
    labels: Mapping[str, str] | None = None, run: str | Path | None = None,
) -> InitResult:  # fmt: skip
    """Look at labelled structures and write a config for `forcewright tune` that fits them.

    Where the data have errors nothing is written: `audit` of the result names them.

    Parameters
    ----------
    data
        File or files of labelled structures.
    output
        The config to write.
    model
        The family of the potential.
    test
        File or files of a test set.
    labels
        Names of the labels, where they are not found by themselves, such as ``{"energy": "dft_energy"}``.
    run
        Folder for what the study will write, which the config names; ``runs/`` and the name of the first file by
        default.

    Raises
    ------
    InputError
        If the config exists already, the family is not known or needs a program of its own, or a file cannot be read.
    MissingExtraError
        If the family needs an extra that is not installed.
    """
    target = as_path(output)
    if target.exists():
        raise InputError("exists already and is not overwritten; choose another name, or remove it", file=target)
    _require_usable(model)
    files, test_files = _files(data), _files(test)
    audited = audit(files, test=test_files or None, labels=labels)
    if audited.errors:
        return InitResult(audited, None, "")
    made = proposal(files, model=model, test=test_files, labels=labels, run=run, target=target, audit=audited)
    with writing(target):
        atomic_write(target, made.text)
    return made


def proposal(
    data: Any, *, model: str, test: Any = None, labels: Mapping[str, str] | None = None,
    run: str | Path | None = None, target: Path | None = None, audit: Audit | None = None,
) -> InitResult:  # fmt: skip
    """Return the config that `init` writes, without writing it; ``audit`` is kept in the result.

    Parameters and errors are those of `init`; ``target`` is the file that paths in the config are relative to.
    """
    _require_usable(model)
    files, test_files = _files(data), _files(test)
    seen = _look(read(files, labels=labels))
    folder = Path.cwd() if target is None else target.resolve().parent
    names = {"train": _relative(files, folder), "test": _relative(test_files, folder)}
    stem = Path(files[0]).name.removesuffix(".gz").split(".")[0] or "potential"
    where = _relative([run], folder)[0] if run is not None else f"runs/{stem}"
    text = _config(seen, model, names, dict(labels or {}), where, "config.yaml" if target is None else target.name)
    return InitResult(audit or Audit(()), target, text)


def _require_usable(model: str) -> None:
    """Refuse a family that is not known, needs an extra that is not installed, or a program of its own."""
    family = family_of(model)
    if model == "command":
        raise InputError(
            "command needs to know the program; `forcewright config tune --model command` shows what to write",
            field="model",
        )
    family.require_packages()


def _files(source: Any) -> list[str]:
    sources = [] if source is None or source == [] else as_sources(source)
    if wrong := next((item for item in sources if not isinstance(item, str | Path)), None):
        raise InputError(f"is a {type(wrong).__name__}; a config names files, so give files", field="data")
    return [str(item) for item in sources]


def _relative(files: Sequence[str | Path], folder: Path) -> list[str]:
    """Return files as a config in a folder names them."""
    return [os.path.relpath(Path(file).resolve(), folder) for file in files]


@dataclass(frozen=True)
class _Seen:
    """What the data hold, as far as a config depends on it."""

    frames: int
    species: tuple[str, ...]
    groups: Mapping[str, int]
    labels: Mapping[str, int]
    equations: int
    nearest_A: float | None  # median distance of nearest neighbors, of the element that has them furthest
    isolated: bool
    periodic: bool


def _look(dataset: Dataset) -> _Seen:
    counts = dataset.count_labels()
    rows = sum(3 * len(frame.structure) for frame in dataset if frame.labels.forces is not None)
    rows += counts["energy"] + 6 * counts["stress"]
    return _Seen(
        frames=len(dataset), species=tuple(chemical_symbols[z] for z in dataset.species), groups=dataset.group_sizes,
        labels=counts, equations=rows, nearest_A=_nearest(dataset),
        isolated=any(is_isolated_atom(frame) for frame in dataset),
        periodic=any(structure.pbc.any() for structure in dataset.structures),
    )  # fmt: skip


def _nearest(dataset: Dataset) -> float | None:
    """Return the median distance of nearest neighbors in Å of the element whose are furthest; None where none are."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(_SAMPLE, len(dataset))).round().astype(int))
    distances_of: dict[int, list[float]] = {}
    for index in chosen:
        structure = dataset[int(index)].structure
        neighbors = find_neighbors(structure, _REACH)
        nearest = np.full(len(structure), np.inf)
        np.minimum.at(nearest, neighbors.centers, neighbors.distances)
        for number, distance in zip(structure.numbers.tolist(), nearest.tolist(), strict=True):
            if np.isfinite(distance):
                distances_of.setdefault(number, []).append(distance)
    return max((float(np.median(distances)) for distances in distances_of.values()), default=None)


def _cutoffs(seen: _Seen) -> tuple[float, float]:
    """Return the ends of a range of cutoffs in Å."""
    nearest = seen.nearest_A or 2.5
    low, high = (float(np.clip(round(factor * nearest, 1), *_CUTOFFS)) for factor in _SHELLS)
    return low, max(high, low + 1.0)


def _model(seen: _Seen, kind: str) -> list[tuple[str, Any, str]]:
    """Return keys of the model, their values and what is said of them."""
    low, high = _cutoffs(seen)
    reach = {"low": low, "high": high}
    if seen.nearest_A is None:
        why = "Å; no atoms are within 6 Å of each other in the data: set it yourself"
    else:
        why = f"Å; nearest neighbors are {seen.nearest_A:.2f} Å apart, and this is about 1.8 to 2.5 times that"
    if kind == "ace":
        fitting = [count for count in _FUNCTIONS if count * len(seen.species) * _EQUATIONS <= seen.equations]
        count = max(fitting, default=_FUNCTIONS[0])
        more = "per element; more (700, 2000) are more accurate and slower" if count == _FUNCTIONS[-1] else (
            f"per element; few, because there are only {seen.equations:,} labels")  # fmt: skip
        return [("functions", count, more), ("rcut", reach, why)]
    if kind == "snap":
        return [
            ("twojmax", 6, "accuracy and cost grow with it: 4, 6, 8"),
            ("quadratic", False, "true adds products of two components: more accurate, and more data are needed"),
            ("rcut", reach, why), ("rfac0", {"low": 0.7, "high": 1.0}, "how distances are spread over the sphere"),
        ]  # fmt: skip
    if kind == "gap":
        sparse = int(np.clip(seen.equations // 30, 50, 500))
        none: tuple[str, Any, str] = ("sigma", {"virial": None}, "the data have no stresses")
        stress = [] if seen.labels["stress"] else [none]
        return [
            ("soap", {"cutoff": reach, "n_sparse": sparse}, f"cutoff in {why}"),
            ("two_body", {"cutoff": high}, "Å"), *stress,
        ]  # fmt: skip
    if kind == "graph":
        stress = [("stress_weight", 0.1, "the data have stresses")] if seen.labels["stress"] else []
        return [
            ("architecture", "painn", "schnet, painn, tensornet, nequip, mace: from fast to slow"),
            ("cutoff", {"low": low, "high": high}, why), *stress,
        ]  # fmt: skip
    if kind == "sgdml":
        return [("symmetries", not seen.periodic, "whether permutations of equal atoms are found and built in")]
    return []


def _weights(seen: _Seen) -> list[str]:
    """Return the lines on the weights of a linear fit."""
    groups = seen.groups
    together = len(groups) == 1 or len(groups) > _MANY_GROUPS or min(groups.values()) < _SMALL_GROUP
    if len(groups) == 1:
        why = "there is one group"
    elif together:
        why = f"there are {len(groups)} groups, some of them small or all of them many: they share their weights"
    else:
        why = f"each of the {len(groups)} groups has weights of its own"
    lines = ["weights:                     # searched in every trial, with the ridge, at hardly any cost"]
    if seen.labels["energy"]:
        lines.append("  energy: {low: 100, high: 15000}")
    if seen.labels["forces"]:
        lines.append("  force: {low: 0.1, high: 500}")
    else:
        lines.append("  force: null                # the data have no forces")
    if seen.labels["stress"]:
        share = "all" if seen.labels["stress"] == seen.frames else f"{seen.labels['stress']:,} of {seen.frames:,}"
        lines.append(f"  stress: {{low: 1, high: 10000}}   # {share} frames have stresses")
    else:
        lines.append("  stress: null               # the data have no stresses")
    return [*lines, f"  by: {'all' if together else 'group'}                    # {why}"]


def _config(
    seen: _Seen, kind: str, names: Mapping[str, Sequence[str]], labels: dict[str, str], run: str, config: str
) -> str:
    linear = family_of(kind).is_linear
    groups = ", ".join(f"{name} {count}" for name, count in list(seen.groups.items())[:12])
    groups += ", …" if len(seen.groups) > 12 else ""
    keys = _model(seen, kind)
    ranged = any(isinstance(value, Mapping) and "low" in repr(value) for _, value, _ in keys)
    if not seen.labels["forces"]:
        labels.setdefault("forces", UNREAD)
    lines = [
        f"# Written by `forcewright init` for {seen.frames:,} frames of {' '.join(seen.species)}.",
        visible(f"# Groups: {' '.join(groups.split())}."),
        f"# Run it:              forcewright tune {config}",
        f"# All that may stand:  forcewright config tune --model {kind}",
        "",
        "data:                        # paths are relative to this file",
        f"  train: {yaml_line(list(names['train']) if len(names['train']) > 1 else names['train'][0])}",
    ]  # fmt: skip
    if names["test"]:
        lines.append(f"  test: {yaml_line(list(names['test']) if len(names['test']) > 1 else names['test'][0])}   "
                     "# touched once, at the end")  # fmt: skip
    else:
        lines += ["  # There is no test set. `forcewright split` makes one without near-copies of the training data:",
                  "  # test: test.extxyz"]  # fmt: skip
    if labels:
        lines.append(f"  labels: {yaml_line(labels)}")
    lines += ["", "model:                       # a range is searched: {low, high}; a number is taken as it is",
              f"  kind: {kind}"]  # fmt: skip
    lines += [f"  {name}: {yaml_line(value)}   # {why}" for name, value, why in keys]
    lines += [""] + (_weights(seen) if linear else [])
    if linear:
        lines += ["ridge: {low: 1.0e-12, high: 1.0e-3, log: true}", ""]
    folds = min(_FOLDS, max(2, seen.frames // 4))
    lines += [
        f"validation: {{kfold: {folds}}}        # each frame is predicted by a fit that has not seen it",
        f"study: {{{_study(kind, ranged)}, seed: 0}}",
    ]
    if seen.isolated:
        lines.append("reference_energies: auto     # from the isolated atoms in the data")
    return "\n".join([*lines, f"output: {yaml_line(run)}", ""])


def _study(kind: str, ranged: bool) -> str:
    """Return the numbers of trials."""
    if not ranged:
        return "trials: 1, initial: 1"
    return {"ace": "trials: 16, initial: 8", "snap": "trials: 24, initial: 12"}.get(kind, "trials: 6, initial: 4")
