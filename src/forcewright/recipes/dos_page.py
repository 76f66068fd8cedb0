"""The page of a study of densities of states, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.optimize.journal import TrialRecord
from forcewright.properties.density_of_states import trapezoid
from forcewright.properties.dos_model import DosModel, HeldBack
from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, Section
from forcewright.report.drawing import MAIN, PALETTE, SOFT, dress, new_figure
from forcewright.report.numbers import significant
from forcewright.report.search_figures import draw_search, draw_slices

_MOST_POINTS = 5000  # of a parity plot
_DERIVED = (("fermi_eV", "Fermi level", "eV"), ("band_energy_eV", "band energy", "eV/atom"),
            ("at_fermi", "D(E_F)", "states/eV per atom"))  # fmt: skip
_REFERENCES = {
    "labels": "Energies count from the zero of the labels.",
    "fermi": "Every density was moved so that its Fermi level lies where it lies on average.",
    "filling": "Every density was moved so that the level below which it holds {filling:.3g} of its electrons lies "
               "where it lies on average.",
    "band_edge": "Every density was moved so that its band edge lies where it lies on average.",
    "fitted": "Every density was moved by a shift that was fitted in turn with the weights.",
}  # fmt: skip


def draw_parity(held: HeldBack) -> Figure:
    """Return Fermi level, band energy and D(E_F) as predicted against those of the labels, a panel each."""
    figure = new_figure(3.4)
    values = held.derived()
    for ax, (key, name, unit) in zip(figure.subplots(1, 3), _DERIVED, strict=True):
        pairs = values[key][np.isfinite(values[key]).all(axis=1)][:_MOST_POINTS]
        dress(ax, f"label ({unit})", f"predicted ({unit})", name)
        if not len(pairs):
            ax.text(0.5, 0.5, "not known", transform=ax.transAxes, ha="center", fontsize=9, color=SOFT)
            continue
        low, high = float(pairs.min()), float(pairs.max())
        margin = 0.05 * (high - low) or 0.5
        ends = (low - margin, high + margin)
        ax.plot(ends, ends, color=SOFT, linewidth=0.8)
        ax.plot(*pairs.T, ".", color=MAIN, markersize=3, alpha=0.6)
        ax.set(xlim=ends, ylim=ends, box_aspect=1)
        ax.locator_params(nbins=5)
    return figure


def draw_curves(held: HeldBack) -> Figure:
    """Return label and prediction of the structures of the smallest, the median and the largest error."""
    wrong = np.square(held.predicted - held.reference) @ trapezoid(held.data.grid)
    order = np.argsort(wrong, kind="stable")
    figure = new_figure(3.2)
    points = held.data.grid.points
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for ax, index, name in zip(panels, order[[0, len(order) // 2, -1]], ("best", "median", "worst"), strict=True):
        ax.plot(points, held.reference[index], color="#9aa3ad", linewidth=2.4, label="label")
        ax.plot(points, held.predicted[index], color=MAIN, linewidth=1.2, label="predicted")
        if np.isfinite(held.fermi[index]):
            ax.axvline(held.fermi[index], color=SOFT, linewidth=0.8, linestyle=":", label="Fermi level")
        atoms = len(held.data.structures[index])
        unit = "states/eV per atom" if name == "best" else ""
        dress(ax, "energy (eV)", unit, f"{name} of {len(order)}: {atoms} atom{'s' * (atoms != 1)}")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def draw_charges(charges: Mapping[str, Any]) -> Figure | None:
    """Return the distribution of the charges of atoms by element; None where there are none."""
    if not charges:
        return None
    figure = new_figure(2.8, 6.8)
    ax = figure.subplots()
    every = np.concatenate(list(charges.values()))
    low, high = np.quantile(every, (0.001, 0.999))
    edges = np.linspace(low, high, 60).tolist() if high - low > 1e-9 else [low - 0.5, low + 0.5]
    for color, (symbol, values) in zip(PALETTE, charges.items(), strict=False):
        ax.hist(values, edges, histtype="step", color=color, linewidth=1.4, label=symbol)
    dress(ax, "electrons in excess of those the atom brings", "atoms")
    ax.legend(frameon=False, fontsize=8)
    return figure


def page_of(
    name: str, model: DosModel, judged: Mapping[str, HeldBack], records: Sequence[TrialRecord],
    charges: Mapping[str, Any], summary: Mapping[str, Any], text: str,
) -> PageContent:  # fmt: skip
    """Return the page of a study."""
    errors, settings = summary["errors"]["held back"], model.settings
    trials = [
        {"index": r.index, "state": r.state, "phase": "initial" if r.phase != "gp" else "bayesian", "loss": r.loss,
         "params": r.params, "chosen": r.index == summary["best_trial"]} for r in records
    ]  # fmt: skip
    environment = settings.environment
    target = {"values": "values on the grid", "cumulative": "the cumulative distribution",
              "components": f"amplitudes of {settings.components} principal components"}[settings.target]  # fmt: skip
    features = f"{model.environments.basis.size} ACE invariants"
    if environment.kernel == "gaussian":
        features = f"Gaussian kernels of {features} with {model.environments.size} environments"
    return PageContent(
        title=name, kicker="Forcewright density of states", warnings=list(summary["warnings"]),
        summary=f"Densities of states of {summary['frames']} structures ({summary['atoms']} atoms), a sum over atoms, "
                f"linear in {features}. What is fitted: {target}. {_frame(model)}",
        cards=[Card("held-back %RMSE", significant(errors["percent"]), "%", "100 % is no better than the mean"),
               Card("occupied energies", significant(errors["percent_occupied"]), "%", "up to the Fermi level"),
               Card("band energy", significant(_thousand(errors["band_energy_eV"])), "meV/atom", "RMSE, held back"),
               Card("states moved by", significant(errors["wasserstein_eV"]), "eV", "Wasserstein distance")],
        facts=[("grid", f"{model.grid.low:g} to {model.grid.high:g} eV in steps of {model.grid.step:g} eV"),
               ("cutoff", f"{model.cutoff:g} Å"), ("trials", str(summary["trials"])),
               ("time", f"{summary['cpu_s']:.0f} s of CPU")],
        sections=[*_error_sections(judged, summary), _choice_section(records, summary),
                  *_search_section(trials), *_charge_section(charges, summary)],
        result=dict(summary), config_text=text, citations=citations(),
    )  # fmt: skip


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000.0 * value


def _frame(model: DosModel) -> str:
    """Return in words what energies count from."""
    zero = {"absolute": "absolute", "fermi": "from the Fermi level of the file", "band_edge": "from the band edge"}
    words = _REFERENCES[model.settings.reference].format(filling=model.settings.filling)
    return f"{words} The labels count energies {zero[model.grid.zero]}."


def _error_sections(judged: Mapping[str, HeldBack], summary: Mapping[str, Any]) -> list[Section]:
    headings = [("set", ""), ("structures", ""), ("all energies", "%"), ("occupied", "%"),
                ("in the labels' energies", "%"), ("RMSE", "1/eV"), ("moved by", "eV"), ("Fermi level", "eV"),
                ("band energy", "eV/atom"), ("D(E_F)", "1/eV")]  # fmt: skip
    keys = ("frames", "percent", "percent_occupied", "label_percent", "rmse_per_eV", "wasserstein_eV", "fermi_eV",
            "band_energy_eV", "at_fermi")  # fmt: skip
    rows = [[name, *(significant(row[key]) for key in keys)] for name, row in summary["errors"].items()]
    text = (
        "%RMSE is 100 √⟨∫(D − D̂)² dε⟩ / √⟨∫(D − D̄)² dε⟩ with D̄ the mean of the training data, over all energies and "
        "over those up to the Fermi level. The last three columns are root mean square errors of what follows from a "
        "density at the number of electrons of its label. Held-back structures are predicted by fits without their "
        "fold, whose hyperparameters and ridge were chosen by the other folds."
    )
    if summary["search_learned"]:
        text += (
            " Which trials there were to choose from was in part suggested by the errors of all folds; "
            "sampler: hammersley does without."
        )
    if summary["truncation_percent"] is not None:
        text += (f"\n\nThe components alone, perfectly predicted, would miss {summary['truncation_percent']:.3g} % of "
                 "held-back densities.")  # fmt: skip
    sections = [Section("Errors", text, [], [{"headings": headings, "rows": rows, "style": "plain"}])]
    for name, held in judged.items():
        what = "Held-back structures" if name == "held back" else "Test structures, predicted once by the final model"
        sections.append(Section(f"Predictions: {name}", f"{what}.", [draw_curves(held), draw_parity(held)]))
    return sections


def _choice_section(records: Sequence[TrialRecord], summary: Mapping[str, Any]) -> Section:
    names = list(dict.fromkeys(name for record in records for name in record.params))
    known = {record.index: record for record in records}
    rows = [[f"without fold {choice['fold']}", str(choice["trial"]), *_cells(known[choice["trial"]], names)]
            for choice in summary["choices"]]  # fmt: skip
    rows.append(["final model", str(summary["best_trial"]), *_cells(known[summary["best_trial"]], names)])
    headings = [("fit", ""), ("trial", ""), ("%RMSE", "%"), *((name, "") for name in names)]
    text = (
        "Each fit without a fold takes the trial that is best in the folds it has seen; the final model the one of the "
        f"smallest held-back error. Its ridge is {summary['ridge']:.2g} of the mean eigenvalue of the kernel."
    )
    if summary["at_range_ends"]:
        text += "\n\n" + "\n\n".join(summary["at_range_ends"])
    return Section("What was chosen", text, [], [{"headings": headings, "rows": rows, "style": "plain"}])


def _cells(record: TrialRecord, names: Sequence[str]) -> list[str]:
    values = [record.params.get(name) for name in names]
    return [significant(record.loss), *(significant(v) if isinstance(v, float) else str(v) for v in values)]


def _search_section(trials: Sequence[Mapping[str, Any]]) -> list[Section]:
    figures = [figure for figure in (draw_search(trials), draw_slices(trials)) if figure is not None]
    if len(trials) < 2:
        return []
    text = "Loss is the held-back %RMSE of a trial in all folds, each with the ridge that the other folds choose."
    return [Section("Search", text, figures)]


def _charge_section(charges: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Section]:
    figure = draw_charges(charges)
    if figure is None:
        return []
    rows = [[symbol, significant(summary["electrons"][symbol], 4), significant(round(float(values.mean()), 6)),
             significant(float(values.std())), significant(float(np.abs(values).max())), str(len(values))]
            for symbol, values in charges.items()]  # fmt: skip
    headings = [("element", ""), ("electrons", ""), ("mean excess", "e"), ("standard deviation", "e"),
                ("largest", "e"), ("atoms", "")]  # fmt: skip
    text = (
        "The density of an atom, integrated to the Fermi level of its structure, less the electrons that the atom "
        "brings; the sum over a structure is zero. The densities of atoms were learned from sums alone."
    )
    return [Section("Charges by atom", text, [figure], [{"headings": headings, "rows": rows, "style": "plain"}])]


def citations() -> list[dict[str, str]]:
    """Return what to cite: learning densities of states of atoms, and what everything stands on."""
    learned = "C. Ben Mahmoud, A. Anelli, G. Csányi, M. Ceriotti, Phys. Rev. B 102, 235130 (2020)"
    return [{"key": "densities of states of atoms", "text": learned}, *provenance.cited(["forcewright", "ase"])]
