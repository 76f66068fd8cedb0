"""`audit`: everything that can be found wrong with labelled structures, without stopping at the first problem."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from forcewright.data.coverage import check_coverage
from forcewright.data.findings import Audit, Finding
from forcewright.data.force_audit import check_forces_against_energies, check_order_of_forces
from forcewright.data.formats import Sources, as_sources, labelled_frames, require_energies, require_mapped
from forcewright.data.frame_checks import check_coincidence, check_frame, check_soundness
from forcewright.data.label_checks import (
    check_declared,
    check_lengths,
    check_placeholders,
    check_stiffness,
    check_zero_of_energy,
)
from forcewright.data.labelling import UNREAD, LabelSummary, check_mapping
from forcewright.data.leakage import check_leakage
from forcewright.data.level_checks import check_levels, check_levels_of_groups
from forcewright.data.probe_fit import sample_and_sum
from forcewright.data.properties import Target
from forcewright.data.property_checks import check_property
from forcewright.data.property_reading import read_property, read_target
from forcewright.data.property_survey import describe_target
from forcewright.data.set_checks import SET_CHECKS, check_unseen
from forcewright.data.stress_audit import check_stress
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame

_log = logging.getLogger(__name__)


def audit(
    data: Sources, *, test: Sources | None = None, format: str | None = None,
    labels: Mapping[str, str] | None = None, target: Target | Mapping[str, Any] | str | Path | None = None,
    **options: Any,
) -> Audit:  # fmt: skip
    """Look for everything that would spoil a fit to these files, ASE atoms or this dataset.

    Parameters
    ----------
    data
        What `read` takes.
    test
        A test set; its groups, elements and structures are compared with the training data, and it is audited too.
    format, labels, **options
        As in `read`.
    target
        A property whose values are looked at, too: a `Target`, its plain data, or a YAML file. Energies are then not
        missed where there are none.
    """
    if target is not None:
        audited = audit(data, test=test, format=format, labels=labels, **options)
        return _with_property(audited, data, read_target(target), format, labels)
    summary = LabelSummary()
    mapping = check_mapping(labels)
    dataset, findings = _collect(data, format, mapping, summary, options)
    more, sound = _check(dataset, findings)
    sample = sample_and_sum(sound)
    wrong, trusted = check_forces_against_energies(sample)
    judged, agreement = check_stress(sample, trusted=trusted if wrong else None)
    findings += [*more, *wrong, *judged, *check_order_of_forces(sample), *check_levels(sample)]
    findings += check_levels_of_groups(sample)
    if not sample.frames and dataset.count_labels()["stress"]:
        message = "the stress cannot be judged without forces, nor in very large cells or with more than six elements"
        findings.append(Finding("note", "stress not judged", message, field="stress"))
    if test is not None:
        test_set, more = _collect(test, format, mapping, LabelSummary(), options)
        findings += more + _check(test_set, more)[0] + list(check_unseen(dataset, test_set))
        findings += check_leakage(dataset, test_set)
        findings += check_coverage(dataset, test_set)
    files = tuple(dict.fromkeys(frame.origin.rpartition("#")[0] for frame in dataset))
    lines = [str(summary), *summary.survey.lines()] if summary.frames else []
    return Audit(tuple(findings), len(dataset), files, "\n".join(lines), agreement)


def _with_property(
    audited: Audit, data: Sources, target: Target, format: str | None, labels: Mapping[str, str] | None
) -> Audit:
    """Return an audit with what is wrong with the values of a property, and without energies that are missed."""
    findings = [finding for finding in audited.findings if finding.code not in _MISSED]
    lines = [line for line in audited.label_lines.split("\n") if line]
    try:
        values = read_property(data, target, format=format, labels=labels, strict=False)
    except InputError as error:
        return replace(audited, findings=(*findings, Finding.from_error(error, "no property")))
    reported = {(finding.file, finding.frame, finding.message) for finding in findings}
    refused = (Finding.from_error(error, "property not usable") for error in values.left_out)
    findings += (finding for finding in refused if (finding.file, finding.frame, finding.message) not in reported)
    findings += check_property(values)
    return replace(audited, findings=tuple(findings), label_lines="\n".join([*lines, *describe_target(values)]))


def _collect(
    data: Sources, format: str | None, mapping: Mapping[str, str], summary: LabelSummary, options: Mapping[str, Any]
) -> tuple[Dataset, list[Finding]]:
    """Read what can be read; what cannot becomes a finding."""
    if isinstance(data, Dataset):
        return data, []
    frames: list[Frame] = []
    findings: list[Finding] = []
    sources = as_sources(data)
    files = [source for source in sources if isinstance(source, Path)]
    for index, source in enumerate(sources):
        try:
            for item in labelled_frames(source, index, format, mapping, summary, options):
                if isinstance(item, InputError):
                    findings.append(Finding.from_error(item))
                else:
                    frames.append(item)
        except InputError as error:
            findings.append(Finding.from_error(error))
    try:
        if frames:
            require_mapped(summary, mapping, files)
            require_energies(summary, files, mapping)
    except InputError as error:
        findings.append(Finding.from_error(error, "missing labels"))
    findings += (doubt for doubt in summary.doubts() if doubt.code != "label not read" or summary.count("energy"))
    return Dataset(tuple(frames), source=", ".join(map(str, files))), findings


def _check(dataset: Dataset, known: list[Finding]) -> tuple[list[Finding], Dataset]:
    """Return the findings and the frames without errors of their own, which a fit of forces can stand on."""
    per_frame = [list(check_frame(frame, index)) for index, frame in enumerate(dataset)]
    sound = dataset[[i for i, group in enumerate(per_frame) if all(f.severity != "error" for f in group)]]
    findings = [finding for group in per_frame for finding in group]
    if len(dataset):
        findings += [finding for check in SET_CHECKS for finding in check(dataset)]
    checked = dataset[[i for i, group in enumerate(per_frame) if not _is_unsound(group)]]
    if len(checked):
        findings += [finding for check in LABEL_CHECKS for finding in check(checked)]
    # That no frame has an energy may be known from reading, where the keys that are there were named, too.
    reported = {(finding.code, finding.field) for finding in known}
    return [f for f in findings if f.frame is not None or (f.code, f.field) not in reported], sound


#: What nobody misses who looks at a property: energies, forces and stresses.
_MISSED = ("missing labels", "label not read")


def _is_unsound(findings: list[Finding]) -> bool:
    return any(finding.code in ("not finite", "out of bounds", "zero cell") for finding in findings)


#: Checks of all frames whose numbers can be calculated with.
LABEL_CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    check_placeholders, check_declared, check_zero_of_energy, check_lengths, check_stiffness,
)  # fmt: skip


def require_forces(dataset: Dataset, labels: Mapping[str, str] | None) -> None:
    """Raise where no frame of several atoms has forces, unless ``labels`` say so: ``{"forces": "none"}``.

    Raises
    ------
    InputError
        With what asks for a fit to energies alone.
    """
    pulled = [frame for frame in dataset if len(frame.structure) > 1]
    if not pulled or any(frame.labels.forces is not None for frame in pulled) or (labels or {}).get("forces") == UNREAD:
        return
    raise InputError(
        "no frame has forces; energies alone determine a potential badly. Name the column that holds them, or ask for "
        'a fit to energies alone: data: {labels: {forces: none}} in a config, labels={"forces": "none"} in Python',
        file=dataset.source or None, field="forces",
    )  # fmt: skip


def require_sound(dataset: Dataset) -> None:
    """Raise for the first thing that makes a fit impossible; cheap enough to stand before every fit.

    Raises
    ------
    InputError
        If the dataset is empty, no frame has a label, a number is NaN or infinite, a periodic cell is zero, or two
        atoms are less than 0.1 Å apart.
    """
    if not len(dataset):
        raise InputError("the dataset is empty; there is nothing to fit", file=dataset.source or None)
    if not any(dataset.count_labels().values()):
        raise InputError("no frame has an energy, forces or a stress", file=dataset.source or None, field="energy")
    for index, frame in enumerate(dataset):
        for finding in check_soundness(frame, index):
            raise finding.to_error()
        for finding in check_coincidence(frame, index):
            raise finding.to_error()
    for finding in check_placeholders(dataset):
        _log.warning("%s", finding)
