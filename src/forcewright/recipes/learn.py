"""Learn: from a few labelled frames to a potential that knows what its own simulations come across."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import BeforeValidator, Field, model_validator

from forcewright.configs import StrictModel, validate
from forcewright.data import dataset_of, write
from forcewright.errors import InputError
from forcewright.files import write_json
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.settings import FitSettings
from forcewright.learning.contracts import Model, Novelty, Policy, Simulator
from forcewright.learning.learner import Learned, Learner, Parts
from forcewright.learning.parts import DiversePolicy, FamilyModel, UncertaintyNovelty, Walkers
from forcewright.learning.settings import FilterSettings, NoveltySettings, PolicySettings, WalkerSettings
from forcewright.learning.time_limit import TimeLimit
from forcewright.models import family_of
from forcewright.plain_data import parse_json
from forcewright.potential import Failure, Potential, Reference
from forcewright.protocols.structures import build_structure
from forcewright.recipes.learn_page import write_learn_page
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.reference import ReferenceSettings, VaspReference, label_all, reference_from
from forcewright.structure import Dataset, Labels, atomic_number
from forcewright.tables import Tabular
from forcewright.trajectory import Snapshot

#: keys of a reference that every version knows
_FIRST = ("xtb", "lammps", "ase", "kwargs", "reuse", "cp2k", "vasp", "potential", "offered")

#: settings of a fit that are the learner's business
_OURS = ("model", "uncertainty", "stability", "committee")

#: what --fresh removes
_EARLIER = ("learn.json", "result.json", "report.html", "config.resolved.yaml", "learned.extxyz", "train.extxyz")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path | Mapping) else value


class LearnConfig(StrictModel):
    """Everything `forcewright learn` needs; paths are relative to the config."""

    model: dict[str, Any]
    """The family (kind) and its hyperparameters; a range may stand for every number."""
    fit: dict[str, Any] = {}
    """What else may stand in the config of a fit: weights, ridge, loss, search, study, validation (folds) ..."""
    start: Annotated[list[Path], BeforeValidator(_as_list)]
    """Labelled frames to begin with."""
    labels: dict[str, str] | None = None
    """Names of the labels in these files, such as {energy: dft_energy}."""
    reference: ReferenceSettings
    """What labels frames: one of {xtb: ...}, {lammps: ...}, {ase: ...}, {cp2k: ...}, {vasp: ...}, {potential: path}."""
    walkers: Annotated[list[WalkerSettings], BeforeValidator(_as_list), Field(min_length=1)]
    """Simulations that look for what the potential does not know."""
    novelty: NoveltySettings = NoveltySettings()
    """What counts as new."""
    policy: PolicySettings = PolicySettings()
    """When walkers stop, what is labelled, and when the learner ends."""
    filter: FilterSettings = FilterSettings()
    """Frames and labels that make no sense."""
    validation: Annotated[list[Path] | None, BeforeValidator(_as_list)] = None
    """Labelled frames, always the same, on which the potential of every round is tried."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    workers: int = Field(default=1, ge=0)
    """Structures that the reference computes at the same time; 0 computes in this process."""
    output: Path
    """Folder for everything that comes out."""

    @model_validator(mode="after")
    def _fit_is_a_fit(self) -> Self:
        for name in _OURS:
            if name in self.fit:
                raise ValueError(f"fit has {name}, which the learner settles; take it out")
        return self

    def fit_settings(self) -> FitSettings:
        """Return the settings of the fits, which know the kind of uncertainty that tells novelty."""
        kind, family = self.novelty.kind, family_of(str(self.model.get("kind", "")))
        if kind in ("committee", "standard_error") and not family.is_linear:
            raise InputError(
                f"is {kind}, which linear families know; take distance for {family.kind}, or variance for gap",
                field="novelty.kind",
            )
        asked: dict[str, Any] = {"model": self.model, "stability": "off", **self.fit}
        if kind == "committee":
            asked["committee"] = {"members": self.novelty.members}
        elif kind in ("standard_error", "distance", "rematch"):
            asked["uncertainty"] = (kind,)
        settings = validate(FitSettings, asked)
        settings.refuse_what_does_not_apply()
        return settings


@dataclass(frozen=True, eq=False, repr=False)
class LearnResult(Tabular):
    """What a learner came to.

    Attributes
    ----------
    potential
        The potential fitted to everything.
    data
        The starting data and all that was learned.
    rounds
        What happened in each round, as plain data.
    reason
        Why it ended, in a sentence.
    folder
        Where everything lies.
    """

    potential: Potential
    data: Dataset
    rounds: tuple[Mapping[str, Any], ...]
    reason: str
    folder: Path

    @property
    def labels(self) -> int:
        """Number of structures that the reference was asked for."""
        return sum(int(done["labels"]) for done in self.rounds)

    def __repr__(self) -> str:
        return f"LearnResult({len(self.rounds)} rounds, {self.labels} labels; {self.reason}; in {str(self.folder)!r})"

    def __str__(self) -> str:
        """Return a few lines for a terminal."""
        return (
            f"{len(self.rounds)} round{'s' * (len(self.rounds) != 1)}, {self.labels} structures labelled; {self.reason}"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each round."""
        return [round_row(number, done) for number, done in enumerate(self.rounds)]


def round_row(number: int, done: Mapping[str, Any]) -> dict[str, Any]:
    """Return a round as one flat row."""
    errors = done["fit"].get("errors") or {}
    return {
        "round": number, "frames": done["fit"]["frames"], "labels": done["labels"], "taken": done["taken"],
        "completed": sum(walk["completed"] for walk in done["walks"]), "walkers": len(done["walks"]),
        "reached_ps": float(np.mean([walk["reached_ps"] for walk in done["walks"]])),
        "energy_rmse_meV_per_atom": errors.get("energy_rmse_meV_per_atom"),
        "force_rmse_eV_per_A": errors.get("force_rmse_eV_per_A"),
        "reference_s": done["reference_s"], "wall_s": done["wall_s"],
    }  # fmt: skip


def learn(
    config: str | Path | Mapping[str, Any] | LearnConfig, *, fresh: bool = False, model: Model | None = None,
    simulator: Simulator | None = None, novelty: Novelty | None = None, reference: Reference | None = None,
    policy: Policy | None = None, on_start: Callable[[str], None] = lambda words: None,
    on_step: Callable[[str], None] = lambda words: None,
) -> LearnResult:  # fmt: skip
    """Learn, or go on where an earlier process was stopped, and write everything to the config's output folder.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    fresh
        Discard an earlier run in the output folder; its label cache stays.
    model, simulator, novelty, reference, policy
        Parts of one's own in the place of those that the config describes (`forcewright.learning.contracts`).
    on_start
        Called before anything is computed with what it may cost at most, in words.
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If the config is not usable, or the output folder holds a learner of another config.
    """
    settings, base, file = read_config(LearnConfig, config)
    settings = with_absolute_paths(settings, base)
    try:
        fits = settings.fit_settings()
        search_ranges(fits.model)
        fits.family.require_packages()
        walkers = _walkers(settings, base)
        labeller = reference or reference_from(settings.reference, base)
    except InputError as error:
        raise InputError(error.problem, file=error.file or file, frame=error.frame, field=error.field) from None
    start = dataset_of(settings.start, labels=settings.labels)
    validation = None if settings.validation is None else dataset_of(settings.validation, labels=settings.labels)
    _check_elements(start, walkers)
    time_limit = TimeLimit(settings.policy.max_hours)
    parts = Parts(
        model or FamilyModel(
            fits, graded=settings.novelty.kind == "grade", retune_every=settings.policy.retune_every
        ),
        simulator or Walkers(walkers, settings.novelty, settings.policy, settings.seed, time_limit),
        novelty or UncertaintyNovelty(settings.novelty), labeller,
        policy or DiversePolicy(settings.policy, settings.filter, settings.novelty.factor),
    )  # fmt: skip
    with RunFolder(settings.output, "learn") as output, output.logging():
        if fresh:
            discard_rounds(output.path)  # first: learn.json says whose they are
            output.discard(_EARLIER)
        _refuse_another(output, settings, [start, *([] if validation is None else [validation])], walkers, labeller)
        warning = _ask_once(labeller, start, output.path, on_start, settings.policy)
        learner = Learner(
            parts, start, validation, output.path, caps=settings.policy, sense=settings.filter, seed=settings.seed,
            workers=settings.workers, on_step=on_step, time_limit=time_limit,
        )  # fmt: skip
        learned = learner.learn()
        return _finish(output, settings, learned, labeller, warning)


def _walkers(settings: LearnConfig, base: Path) -> dict[str, tuple[WalkerSettings, Snapshot]]:
    """Return every walker with its start, by name."""
    walkers: dict[str, tuple[WalkerSettings, Snapshot]] = {}
    for number, walker in enumerate(settings.walkers):
        field = f"walkers[{number}]"
        try:
            if walker.packing is None:
                assert walker.structure is not None
                start = replace(build_structure(walker.structure, base), step=None, time=None)
            else:
                start = Snapshot(walker.packing.draw(np.random.default_rng(settings.seed)))  # whether atoms fit
            walker.plan()
        except InputError as error:
            within = ".".join(filter(None, [field, error.field]))
            raise InputError(error.problem, file=error.file, frame=error.frame, field=within) from None
        for copy in range(walker.copies):
            name = walker.name or f"walker-{number}"
            name = name if walker.copies == 1 else f"{name}-{copy}"
            if name in walkers:
                raise InputError(f"{name!r} is the name of two walkers", field=f"{field}.name")
            walkers[name] = (walker, start)
    return walkers


def _check_elements(start: Dataset, walkers: Mapping[str, tuple[WalkerSettings, Snapshot]]) -> None:
    for name, (walker, snapshot) in walkers.items():
        elements = set(snapshot.structure.numbers.tolist())
        for composition in [] if walker.packing is None else walker.packing.compositions:
            elements |= {atomic_number(symbol) for symbol, count in composition.items() if count}
        if unknown := elements - set(start.species):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(unknown))
            raise InputError(f"holds no {symbols}, which walker {name} has; add labelled frames with it", field="start")


def identity_of(
    settings: LearnConfig, data: Sequence[Dataset], walkers: Mapping[str, tuple[WalkerSettings, Snapshot]],
    reference: Reference,
) -> str:  # fmt: skip
    """Return a hash of all that decides what is learned; caps alone may change from run to run."""
    content = settings.model_dump(mode="json", exclude={"output", "workers", "start", "policy"})
    for name, known in ReferenceSettings.model_fields.items():  # learners of versions that do not know it go on
        if name not in _FIRST and getattr(settings.reference, name) == known.default:
            del content["reference"][name]
    policy = settings.policy.model_dump(
        mode="json", exclude={"max_labels", "max_hours", "max_reference_s", "max_rounds"}
    )
    read = [*(part.content_hash for part in data), *(shot.structure.content_hash for _, shot in walkers.values())]
    text = json.dumps([content, policy, read, reference.content_hash], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_another(
    output: RunFolder, settings: LearnConfig, data: Sequence[Dataset],
    walkers: Mapping[str, tuple[WalkerSettings, Snapshot]], reference: Reference,
) -> None:  # fmt: skip
    """Refuse to go on with a learner of another config or reference."""
    identity = identity_of(settings, data, walkers, reference)
    path = output / "learn.json"
    try:
        stored = parse_json(path.read_text(encoding="utf-8")).get("identity")
    except (OSError, ValueError, AttributeError):
        stored = None
    if stored != identity and (stored is not None or any(output.path.glob("rounds/*/round.json"))):
        raise InputError(
            "holds a learner of another config, data or reference; choose another output, or start again with --fresh "
            "(fresh=True)",
            file=output.path,
        )
    write_json(path, {"identity": identity})


def _ask_once(
    reference: Reference, start: Dataset, folder: Path, on_start: Callable[[str], None], caps: PolicySettings
) -> str | None:
    """Label a frame of the starting data, to say what labels cost; return a warning where it is labelled otherwise."""
    limits = [f"at most {caps.max_labels} labels", f"{caps.max_rounds} rounds"]
    limits += [] if caps.max_hours is None else [f"{caps.max_hours:g} hours"]
    limits += [] if caps.max_reference_s is None else [f"{caps.max_reference_s:g} s of labelling"]
    said = ", ".join(limits)
    if isinstance(reference, VaspReference):
        on_start(f"{said}; labels are computed by VASP, run by somebody else")
        return None
    frame = next((known for known in start if len(known.structure) > 1), start[0])
    labelling = label_all(reference, [frame.structure], cache=folder / "label-cache", workers=0)
    result = labelling.results[0]
    if isinstance(result, Failure):
        raise InputError(f"cannot label a frame of the starting data: {result.reason}", field="reference")
    if labelling.cached:
        on_start(said)
    else:
        cost = labelling.seconds
        on_start(f"{said}; a label takes about {cost:.3g} s, all of them {cost * caps.max_labels:.3g} s")
    return _disagreement(frame.labels, result, len(frame.structure))


def _disagreement(known: Labels, computed: Labels, atoms: int) -> str | None:
    """Return in a sentence how far labels are from those that came with a frame; None where they agree."""
    if known.forces is None or computed.forces is None:
        return None
    difference = float(np.sqrt(np.mean((known.forces - computed.forces) ** 2)))
    scale = float(np.sqrt(np.mean(known.forces**2)))
    if difference <= max(0.05 * scale, 0.01):
        return None
    return (
        f"The reference labels a frame of the starting data otherwise than they do: forces differ by {difference:.3g} "
        f"eV/Å, where they are {scale:.3g} eV/Å. Starting data and new labels must come from the same method."
    )


def _finish(
    output: RunFolder, settings: LearnConfig, learned: Learned, reference: Reference, warning: str | None
) -> LearnResult:
    """Write the potential, the data, result.json and the page."""
    learned.potential.save(output / "potential")
    write(learned.data, output / "train.extxyz")
    result = LearnResult(learned.potential, learned.data, learned.rounds, learned.reason, output.path)
    summary = output.write_result(
        {
            "reason": learned.reason, "labels": result.labels, "reference": reference.name,
            "warnings": [] if warning is None else [warning], "rounds": list(learned.rounds),
        },
        settings.start,
    )  # fmt: skip
    text = output.write_config(settings)
    write_learn_page(output.path, summary, result.to_rows(), settings, text)
    return result


def discard_rounds(folder: Path) -> None:
    """Remove the rounds of an earlier learner, and nothing else."""
    for path in sorted((folder / "rounds").glob("[0-9][0-9][0-9][0-9]")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
