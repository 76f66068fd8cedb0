"""Cite: what a run is to cite, as BibTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forcewright.errors import InputError
from forcewright.files import as_path
from forcewright.fitting.settings import TuneStudySettings
from forcewright.models import potential_path
from forcewright.plain_data import read_json, read_yaml
from forcewright.recipes import compare_page, provenance
from forcewright.recipes.bibliography import bibtex
from forcewright.recipes.compare_spaces_page import cited_keys

_ALWAYS = ("forcewright", "ase")


def cite(run: str | Path) -> str:
    """Return what a run is to cite, as BibTeX: programs, methods, and the works they rest on.

    Parameters
    ----------
    run
        Output folder of a command, or the potential in that of a study.

    Raises
    ------
    InputError
        If no command has finished there.
    """
    folder = as_path(run, "run")
    if not (folder / "result.json").is_file() and (folder.parent / "result.json").is_file():
        folder = folder.parent if (folder / "potential.json").is_file() else folder
    if not (folder / "result.json").is_file():
        raise InputError("holds no result.json; give the output folder of a run that has finished", file=folder)
    return bibtex(_citations(folder))


def _citations(folder: Path) -> list[Mapping[str, str]]:
    """Return what the page of a run cites, and the study that its potential comes from."""
    result = read_json(folder / "result.json")
    if not isinstance(result, Mapping):
        raise InputError("is no result of a command", file=folder / "result.json")
    if stored := _stored(folder):
        return stored
    if isinstance(kept := result.get("citations"), list):  # a study of a property
        return [entry for entry in kept if _is_citation(entry)]
    if isinstance(result.get("families"), Mapping) and "judged_on" in result:  # a comparison, of any version
        return list(compare_page.citations(result))
    if result.get("written_by") == "ablate":
        return list(compare_page.citations({"families": result["variants"]}))
    keys = [*_ALWAYS, *(cited_keys(result) if result.get("written_by") == "compare-spaces" else ())]
    cited: dict[str, Mapping[str, str]] = {entry["key"]: entry for entry in provenance.cited(keys)}
    for entry in [*_of_the_potential(folder), *_of_the_models(folder)]:
        cited.setdefault(entry["key"], entry)
    return list(cited.values())


def _stored(folder: Path) -> list[Mapping[str, str]]:
    """Return the citations that a study keeps for its report; none where there are none."""
    with suppress(InputError):
        content = read_json(folder / "report.json")
        entries = content.get("citations") if isinstance(content, Mapping) else None
        if isinstance(entries, list):
            return [entry for entry in entries if _is_citation(entry)]
    return []


def _is_citation(entry: Any) -> bool:
    return isinstance(entry, Mapping) and all(isinstance(entry.get(name), str) for name in ("key", "text"))


def _of_the_models(folder: Path) -> list[Mapping[str, str]]:
    """Return what the models cite that a config names, such as those of a learning curve or a learner."""
    with suppress(InputError):
        config = read_yaml(folder / "config.resolved.yaml")
        families = config.get("families")
        fits = list(families.values()) if isinstance(families, Mapping) else [config]
        models = [fit["model"] for fit in fits if isinstance(fit, Mapping) and isinstance(fit.get("model"), Mapping)]
        return [entry for model in models for entry in provenance.citations(model, TuneStudySettings(), False)]
    return []


def _of_the_potential(folder: Path) -> Sequence[Mapping[str, str]]:
    """Return what the study cites that the potential of a run comes from, where it lies beside it."""
    with suppress(InputError):
        source = read_yaml(folder / "config.resolved.yaml").get("potential")
        if isinstance(source, str):
            return _stored(potential_path(folder / source).parent)
    return ()
