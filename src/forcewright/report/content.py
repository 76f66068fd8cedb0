"""The contents of a report as plain data. Everything but the title may be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from forcewright.accuracy.parity import Parity


class Svg(str):
    """A figure drawn earlier: the text of an inline ``<svg>`` element and its width in inches."""

    width: float

    def __new__(cls, text: str, width: float) -> Svg:
        """Keep the width with the text."""
        made = super().__new__(cls, text)
        made.width = width
        return made


class Card(NamedTuple):
    """A number that stands out at the top of a page."""

    label: str
    value: str
    unit: str = ""
    under: str = ""


class Section(NamedTuple):
    """A further section of a report.

    ``text`` is plain text, blank lines separate paragraphs; a figure is a matplotlib figure, an `Svg`, or PNG bytes; a
    table is a mapping of ``headings``, pairs of name and unit, and ``rows`` of texts; it may have a
    ``caption``, ``style`` "plain" if the last row is not a summary, and ``marks``, "pass", "fail" or "" for each row.
    With ``paired`` small figures stand side by side.

    In the report of a study ``rank`` says where it stands among the others: errors have 20 and 30, the search 40, the
    data 50, all trials 90. ``cards`` stand beside the errors at the top of the page.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure | Svg | bytes] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    paired: bool = False
    rank: int = 60
    cards: Sequence[Card] = ()


@dataclass(frozen=True, eq=False)
class PageContent:
    """Any other page: a simulation, analyses of a trajectory, a physical validation.

    ``summary`` is plain text, blank lines separate paragraphs; ``facts`` are pairs of name and text; ``result`` holds
    the provenance (date, command, seed, versions, data_hashes, machine); ``citations`` have ``key`` and ``text`` each;
    ``links`` are pairs of a text and the path of another page.
    """

    title: str
    kicker: str = "Forcewright report"
    warnings: Sequence[str] = ()
    summary: str = ""
    cards: Sequence[Card] = ()
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    citations: Sequence[Mapping[str, str]] = ()
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, eq=False)
class ReportContent:
    """The contents of the report of a study.

    ==================  ===============================================================================================
    result              contents of ``result.json``: numbers of trials and evaluations, validation, nested and test
                        (``ErrorTable.to_dict()``), wall_s, cpu_s, peak_memory_bytes, cost_us_per_atom, protocol, seed,
                        versions, data_hashes, command, machine, warnings (sentences), max_cost_us_per_atom
    config_text         the resolved configuration, YAML
    trials              one mapping per trial: index, state ("complete" or "failed"), phase ("initial" or "bayesian"),
                        loss, params, energy_rmse_meV_per_atom, force_rmse_eV_per_A, cost_us_per_atom, chosen (whether
                        it is the best), evaluations, wall_s, error
    parity              values behind the parity plots by data set: "validation", "test"
    importance          share of each hyperparameter in the variation of the loss
    findings            rows of the data audit: severity, file, frame, field, message
    reference_energies  energy subtracted per atom in eV by element symbol; ``reference_energies_source`` says how it
                        was obtained
    label_counts        number of frames with each label, by data set or by label
    group_sizes         number of frames by group
    chosen              the chosen hyperparameters; a mapping of mappings (weights by group and property) becomes a
                        table of its own
    citations           works to cite, each with ``key`` and ``text``
    sections            further sections, each at its rank
    loss                what the loss is, in sentences
    units               units of hyperparameters by name, those of mappings inside joined by dots
    links               pairs of a text and the path of another page
    ==================  ===============================================================================================
    """

    title: str
    result: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    trials: Sequence[Mapping[str, Any]] = ()
    parity: Mapping[str, Parity] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[Any] = ()
    reference_energies: Mapping[str, float] = field(default_factory=dict)
    reference_energies_source: str = ""
    label_counts: Mapping[str, Any] = field(default_factory=dict)
    group_sizes: Mapping[str, int] = field(default_factory=dict)
    citations: Sequence[Mapping[str, str]] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    loss: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()
