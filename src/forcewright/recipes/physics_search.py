"""Physics in a search: which of the trials becomes the potential, by survival, crystals, other sets, beside the loss.

What selects here is no test: it is named as such, in result.json and on the page, and runs of dynamics have other
seeds than those by which the potential is probed afterwards.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from forcewright.accuracy.errors import ErrorTable, evaluate
from forcewright.configs import StrictModel
from forcewright.data import read
from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import write_json
from forcewright.fitting.final import fit_final
from forcewright.fitting.settings import StabilitySettings
from forcewright.fitting.trials import Trials
from forcewright.force_field import ForceField
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.selection import Aim, Bounds, Selection, select_trial
from forcewright.optimize.study import eligible
from forcewright.plain_data import parse_json
from forcewright.potential import Potential
from forcewright.protocols.structures import StructureSource, build_structure
from forcewright.report.numbers import DASH, significant
from forcewright.stability.dynamics import runs
from forcewright.stability.holes import Clock
from forcewright.structure import Structure
from forcewright.validation.physics import PROPERTIES, PropertiesSettings

log = logging.getLogger("forcewright")

FILE = "physics_search.json"

_PROBED = "probe.survived"
_OTHER_SEED = 100_003  # what selects has other starts and velocities than what is reported
_LONG_S = 1e6
_BESIDE = {"study", "workers", "output", "data", "physics", "stability", "uncertainty"}  # no potential depends on it
_EXPENSIVE = ("survival", "diffusion", "rdf", "adf", "density")  # properties of dynamics come after the others


class LimitSettings(StrictModel):
    """Between which ends a quantity has to lie."""

    at_least: float | None = None
    """Lower end."""
    at_most: float | None = None
    """Upper end."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError("needs at_least, at_most, or both")
        if low is not None and high is not None and low > high:
            raise ValueError(f"at_least ({low:g}) is above at_most ({high:g})")
        return self


class AimSettings(StrictModel):
    """What a quantity is to be close to."""

    target: float
    """The value it is to have."""
    scale: float = Field(gt=0)
    """The deviation that counts as much as a loss twice the least."""


class PhysicsSearchSettings(StrictModel):
    """What chooses among the trials, beside the loss; quantities are property.number, set.error or probe.survived."""

    structure: StructureSource | None = None
    """The conventional unit cell of the crystal whose properties are computed."""
    properties: PropertiesSettings | None = None  # type: ignore[valid-type]
    """Properties of `forcewright validate`, such as {elastic: {}, survival: {}}; their numbers are elastic.C11_GPa …"""
    probe: StabilitySettings | None = None
    """Runs of dynamics from training frames as after a fit, with other seeds; probe.survived is the share of them that
    survives."""
    sets: dict[str, list[Path]] = Field(default_factory=dict)
    """Further sets by name; their numbers are NAME.force_rmse_eV_per_A and what else stands in a table of errors."""
    limits: dict[str, LimitSettings] = Field(default_factory=dict)
    """By quantity: what it has to be, such as {probe.survived: {at_least: 1}}."""
    objectives: dict[str, AimSettings] = Field(default_factory=dict)
    """By quantity: what it is to be close to, such as {elastic.C11_GPa: {target: 160, scale: 10}}."""
    candidates: int = Field(default=8, ge=1)
    """Trials of the lowest loss that are looked at, at most."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        asked = self.asked_properties()
        if not self.limits and not self.objectives:
            raise ValueError("needs limits or objectives; nothing else selects")
        if asked and self.structure is None:
            raise ValueError("properties need structure: the crystal they are computed for")
        for name in (*self.limits, *self.objectives):
            source, _, number = name.partition(".")
            if name == _PROBED and self.probe is not None:
                continue
            if not number or source not in (*asked, *self.sets):
                known = ", ".join([*asked, *self.sets, *([_PROBED] if self.probe else [])])
                raise ValueError(f"{name} is no quantity; write property.number or set.error of {known or 'nothing'}")
        return self

    def asked_properties(self) -> dict[str, Any]:
        """Return the settings of the properties that are asked for, those of dynamics last."""
        if self.properties is None:
            return {}
        asked = {name: chosen for name in PROPERTIES if (chosen := getattr(self.properties, name)) is not None}
        return dict(sorted(asked.items(), key=lambda item: item[0] in _EXPENSIVE))

    def quantities(self) -> list[str]:
        """Return the names of the quantities that decide, from cheap to expensive."""
        sources = [*self.sets, *self.asked_properties(), "probe"]
        names = dict.fromkeys((*self.limits, *self.objectives))
        return sorted(names, key=lambda name: sources.index(name.partition(".")[0]))


def chooser(
    settings: PhysicsSearchSettings, folder: Path, labels: Mapping[str, str] | None, hashes: Mapping[str, str]
) -> Callable[[Trials, Sequence[TrialRecord]], tuple[TrialRecord, dict[str, Any]]]:
    """Return what chooses among finished trials, and tells as plain data how.

    Parameters
    ----------
    folder
        Output folder of the study, in which what has been computed is kept.
    hashes
        Those of the data, without which nothing that is kept holds.
    """
    sets = {name: read(paths, labels=labels) for name, paths in settings.sets.items()}
    structure = None if settings.structure is None else build_structure(settings.structure, folder).structure
    for name in settings.asked_properties():
        PROPERTIES[name].require_package()

    def choose(trials: Trials, records: Sequence[TrialRecord]) -> tuple[TrialRecord, dict[str, Any]]:
        limits = trials.problem.settings.study.limits
        computed = _Computed(settings, trials, sets, structure, _Kept(folder / FILE, settings, trials, hashes))
        selection = select_trial(
            eligible(records, limits),
            {name: functools.partial(computed.value, name) for name in settings.quantities()},
            {name: _bounds(limit) for name, limit in settings.limits.items()},
            {name: Aim(aim.target, aim.scale) for name, aim in settings.objectives.items()},
            settings.candidates,
        )  # fmt: skip
        return selection.best, _in_words(settings, selection)

    return choose


def _bounds(limit: LimitSettings) -> Bounds:
    ends = {"low": limit.at_least, "high": limit.at_most}
    return Bounds(**{name: end for name, end in ends.items() if end is not None})


def _in_words(settings: PhysicsSearchSettings, selection: Selection) -> dict[str, Any]:
    return {
        "best": selection.best.index, "satisfied": selection.satisfied,
        "best_by_loss": min(selection.candidates, key=lambda c: (c["loss"], c["trial"]))["trial"],
        "quantities": settings.quantities(), "candidates": selection.candidates,
        "limits": {name: limit.model_dump(exclude_none=True) for name, limit in settings.limits.items()},
        "objectives": {name: aim.model_dump() for name, aim in settings.objectives.items()},
    }  # fmt: skip


class _Kept:
    """Numbers by trial and source in a file that is written after each of them, so that a kill costs only one."""

    def __init__(self, path: Path, settings: PhysicsSearchSettings, trials: Trials, hashes: Mapping[str, str]) -> None:
        problem = trials.problem
        self.path = path
        content = [
            settings.model_dump(mode="json", exclude={"limits", "objectives", "candidates"}), dict(hashes),
            problem.settings.model_dump(mode="json", exclude=_BESIDE, fallback=str),
            dict(problem.model), problem.everything.content_hash, problem.seed,
        ]  # fmt: skip
        self._key = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
        self._values: dict[str, dict[str, float | None]] = {}
        try:
            stored = parse_json(path.read_text(encoding="utf-8"))
            if stored["key"] == self._key:
                self._values = {str(name): dict(numbers) for name, numbers in stored["values"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def of(self, record: TrialRecord, source: str, compute: Callable[[], dict[str, float | None]]) -> dict[str, Any]:
        """Return the numbers of a source for a trial, computed now if they are not known."""
        parameters = hashlib.sha256(json.dumps(record.params, sort_keys=True).encode()).hexdigest()[:12]
        name = f"{record.index}-{parameters}/{source}"
        if name not in self._values:
            self._values[name] = compute()
            write_json(self.path, {"key": self._key, "values": self._values})
        return self._values[name]


class _Computed:
    """The physics of trials."""

    def __init__(
        self, settings: PhysicsSearchSettings, trials: Trials, sets: Mapping[str, Any], structure: Structure | None,
        kept: _Kept,
    ) -> None:  # fmt: skip
        self.settings, self.trials, self.sets, self.structure, self.kept = settings, trials, sets, structure, kept
        self._potentials: dict[int, Potential] = {}

    def value(self, name: str, record: TrialRecord) -> float | None:
        """Return a quantity of a trial's potential; None where it could not be computed."""
        source, _, number = name.partition(".")
        numbers = self.kept.of(record, source, lambda: self._numbers(source, record))
        if number not in numbers and numbers:
            known = ", ".join(numbers)
            raise InputError(f"names {name}; of {source} there are {known}", field="physics")
        value = numbers.get(number)
        log.info("trial %d: %s %s", record.index, name, DASH if value is None else f"{value:.5g}")
        return value

    def _numbers(self, source: str, record: TrialRecord) -> dict[str, float | None]:
        try:
            potential = self._potential(record)
            if source in self.sets:
                return _numbers_of(evaluate(potential, self.sets[source], resamples=0))
            if source == "probe":
                return {"survived": self._survived(potential)}
            force_field = ForceField.of_potential(potential, f"trial {record.index}", f"trial-{record.index}")
            assert self.structure is not None
            settings = self.settings.asked_properties()[source]
            computed = PROPERTIES[source].run(force_field, self.structure, settings)
            return {name: float(value) for name, value in computed.numbers.items()}
        except ForcewrightError as error:
            log.warning("trial %d: %s: %s", record.index, source, error)
            return {}

    def _potential(self, record: TrialRecord) -> Potential:
        if record.index not in self._potentials:
            self._potentials = {record.index: fit_final(self.trials, record, None, graded=False).potential}
        return self._potentials[record.index]

    def _survived(self, potential: Potential) -> float:
        probe, train = self.settings.probe, self.trials.problem.everything
        assert probe is not None
        seed = (self.trials.problem.seed if probe.seed is None else probe.seed) + _OTHER_SEED
        moving = runs(
            potential, train, shortest_distances(train), probe.kelvin, probe.time_ps, probe.runs, seed,
            Clock(probe.budget_s or _LONG_S),
        )  # fmt: skip
        survived = [bool(row["survived"]) for row, _ in moving]
        return sum(survived) / len(survived)


def _numbers_of(table: ErrorTable) -> dict[str, float | None]:
    content = table.overall.to_dict()
    return {name: value for name, value in content.items() if isinstance(value, float) or value is None}


def sections(result: Mapping[str, Any]) -> list[list[Any]]:
    """Return the section of the report of a study, [title, text, what is shown], from result.json."""
    search = result.get("physics_search")
    if not search:
        return []
    names = search["quantities"]
    headings = [("trial", ""), ("loss", ""), *((name, "") for name in names), ("exceeds", "")]
    rows = [
        [
            f"{row['trial']}{' (chosen)' if row['trial'] == search['best'] else ''}", significant(row["loss"], 4),
            *(significant(row["values"].get(name), 4) for name in names), row["exceeds"] or DASH,
        ]
        for row in search["candidates"]
    ]  # fmt: skip
    limits = [
        f"{name} " + " and ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in limit.items())
        for name, limit in search["limits"].items()
    ]  # fmt: skip
    aims = [f"{name} near {aim['target']:g} (scale {aim['scale']:g})" for name, aim in search["objectives"].items()]
    text = f"Selected by {', '.join([*limits, *aims])}, computed for the trials of the lowest loss first. "
    if search["best"] != search["best_by_loss"]:
        text += f"The loss alone would have chosen trial {search['best_by_loss']}. "
    text += "These numbers have selected, and are no test of the potential."
    table = {"headings": headings, "rows": rows, "style": "plain"}
    return [["Physics that selected", text, {"tables": [table], "rank": 42}]]


def warnings(search: Mapping[str, Any] | None) -> list[str]:
    """Return in a sentence that no trial is within the limits, if it is so."""
    if search is None or search["satisfied"]:
        return []
    looked = len(search["candidates"])
    return [f"None of the {looked} trials looked at is within the limits of physics; the loss alone has chosen."]
