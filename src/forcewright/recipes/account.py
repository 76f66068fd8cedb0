"""What is told of a fitted potential beyond its errors: size, pruning and densities.

Everything is plain data and goes to result.json; `sections` turns it into what the report shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from ase.data import chemical_symbols
from pydantic import BaseModel

from forcewright.features.ace.basis import AceBasis
from forcewright.fitting.hyperparameters import linear_model
from forcewright.fitting.linear_trial import LinearTrial
from forcewright.fitting.loss import Loss
from forcewright.fitting.problem import Problem
from forcewright.models.family import LinearHyperparameters
from forcewright.optimize.journal import TrialRecord
from forcewright.recipes.coverage import coverage_sections
from forcewright.recipes.extrapolation import extrapolation_sections


def account_of(problem: Problem, best: TrialRecord, trial: LinearTrial | None) -> dict[str, Any]:
    """Return size, pruning, densities and solver of the winner; each None for a family with a fit of its own."""
    if trial is None:
        return dict.fromkeys(("size", "pruning", "densities", "solver", "gram_mismatch"))
    model = linear_model(problem.model, best.params)
    densities = densities_of(model, best, trial)
    return {
        "size": size_of(trial.basis, densities["densities"] if densities and densities["kept"] else 1),
        "pruning": pruning_of(problem, model, trial),
        "densities": densities,
        "solver": trial.diagnostics["solver"],
        "gram_mismatch": trial.diagnostics["gram_mismatch"],
    }


def size_of(basis: Any, densities: int = 1) -> dict[str, Any] | None:
    """Return how many functions and products of A a basis of ACE has, by rank and in all; None for other families.

    ``multiplications`` is the sum of the products' ranks, which is what an evaluation costs.
    """
    if not isinstance(basis, AceBasis):
        return None
    ranks: dict[int, dict[str, int]] = {}
    for functions in basis.functions:
        for (rank, _), rows in _products(functions).items():
            entry = ranks.setdefault(rank, {"functions": 0, "products": 0, "multiplications": 0})
            entry["products"] += len(rows)
            entry["multiplications"] += rank * len(rows)
        for function in functions:
            ranks[function.rank]["functions"] += 1
    ordered = {str(rank): ranks[rank] for rank in sorted(ranks)}
    total = {key: sum(entry[key] for entry in ranks.values()) for key in ("functions", "products", "multiplications")}
    symbols = [chemical_symbols[z] for z in basis.species]
    elements = {symbol: len(functions) for symbol, functions in zip(symbols, basis.functions, strict=True)}
    return {**total, "parameters": total["functions"] * densities, "ranks": ordered, "elements": elements}


def _products(functions: Sequence[Any]) -> dict[tuple[int, Any], set[tuple[int, ...]]]:
    """Return the products, as their m, by rank and (μ, n, l): functions of different coupling share them."""
    products: dict[tuple[int, Any], set[tuple[int, ...]]] = {}
    for function in functions:
        key = (function.rank, (function.species, function.ns, function.ls))
        products.setdefault(key, set()).update(map(tuple, function.ms.tolist()))
    return products


def pruning_of(problem: Problem, model: LinearHyperparameters, trial: LinearTrial) -> dict[str, Any] | None:
    """Return sizes before and after pruning; None for a model that is not pruned.

    ``nested`` tells whether the validation frames were predicted with functions chosen without them.
    """
    pruning = model.pruning()
    before, after = size_of(model.basis(problem.train.species)), size_of(trial.basis)
    if pruning is None or before is None or after is None:
        return None
    keys = ("functions", "products", "multiplications")
    return {
        "before": {key: before[key] for key in keys}, "after": {key: after[key] for key in keys},
        "asked_multiplications": pruning.products,
        "nested": problem.external is None and problem.fold_count > 1,
    }  # fmt: skip


def densities_of(model: LinearHyperparameters, best: TrialRecord, trial: LinearTrial) -> dict[str, Any] | None:
    """Return how the fit of further densities went; None for a model of one density.

    Where the final fit repeats what the trial found, the trial's journal tells.
    ``fitted`` is False where the normal equations were singular and the further densities were not tried.
    """
    refinement = model.refinement()
    if refinement is None:
        return None
    history = trial.diagnostics.get("nonlinear") or best.metrics.get("nonlinear")
    exponents = list(refinement.exponents)
    result = {"densities": refinement.densities, "exponents": exponents, "fitted": history is not None}
    if history is None:
        return {**result, "kept": False}
    before, after = float(history["linear_loss"]), float(history["loss"])
    return {
        **result, "kept": bool(history["kept"]), "iterations": int(np.sum(history["iterations"])),
        "linear_loss": _finite(before), "loss": _finite(after),
        "change_percent": _finite(100.0 * (after / before - 1.0)) if before > 0 else None,
        "curve": [_finite(value) for value in history["curve"]],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def chosen_table(model: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that had a part in the potential, and its size by rank, for the report.

    Parameters
    ----------
    model
        The chosen hyperparameters in the words of the config.
    result
        Content of result.json: ``size`` and ``densities`` as above.
    """
    shown = {key: value for key, value in model.items() if value not in ({}, None)}
    size, densities = result.get("size"), result.get("densities")
    if model.get("kind") != "ace" or size is None:
        return shown
    idle = {"nonlinear", "embedding", "prefactors", "exponents"} if densities is None else set()
    idle |= {"decay"} if model["radial"] == "SBessel" else set()
    idle |= {"dcut"} if model["radial"] != "ChebExpCos" else set()
    idle |= {"l_weight", "rank_weight"} if model["order"] != "degree" else set()
    shown = {key: value for key, value in shown.items() if key not in idle}
    asked = int(model["functions"])
    if size["functions"] != asked * len(size["elements"]):
        per_element = ", ".join(f"{count} {symbol}" for symbol, count in size["elements"].items())
        shown["functions"] = f"{per_element} (of {asked})"
    if densities is not None:
        shown["exponents"] = densities["exponents"]
        shown["densities"] = densities["densities"] if densities["kept"] else f"1 (of {densities['densities']})"
        unused = {"l1": 0.0, "l2": 0.0, "radial": [0.0, 0.0, 0.0], "steps": [1.0], "upfit": 1.0}
        nonlinear = {k: v for k, v in shown["nonlinear"].items() if unused.get(k) != v}
        if "upfit" not in nonlinear:
            nonlinear.pop("upfit_iterations", None)
        shown["nonlinear"] = nonlinear
    ranks = {f"rank {rank}": entry for rank, entry in size["ranks"].items()}
    everything = {key: size[key] for key in ("functions", "products", "multiplications")}
    shown |= {"parameters": size["parameters"]} if densities is not None else {}
    return {**shown, "size by rank": {**ranks, "all": everything}}


def loss_text(loss: Loss) -> str:
    """Return in sentences what the loss of a study is."""
    mean = {"rmse": "RMSE", "mae": "MAE", "huber": f"mean Huber loss (δ = {loss.huber_delta:g})"}[loss.metric]
    kinds = {
        "energy": "of the energies of cells divided by √N (eV)", "force": "of the force vectors of atoms (eV/Å)",
        "stress": "of the virial components divided by √N (eV)",
    }  # fmt: skip
    terms = [f"{loss.weights.of(name):.4g} × {mean} {kinds[name]}" for name in loss.properties if loss.weights.of(name)]
    return (
        f"The loss is {' + '.join(terms)}, over the frames that validate; N is the number of atoms of a cell (du Toit "
        "and Deringer, 2023; du Toit 2025, equation 3.4). Smaller is better."
    )


_UNIT = re.compile(r"\bin (Å|eV/Å|eV per atom|eV|GPa|fs|K)\b")


def units_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return the units of hyperparameters by their names, those of models inside joined by dots, as their docs say."""
    units = {}
    for name, field in model.model_fields.items():
        if (unit := _UNIT.search(field.description or "")) is not None:
            units[f"{prefix}{name}"] = unit[1].replace(" per ", "/")
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                units |= units_of(part, f"{prefix}{name}.")
    return units


def sections(result: Mapping[str, Any]) -> list[list[Any]]:
    """Return sections of the report, [title, text, what is shown beside], from the content of result.json."""
    sections: list[list[Any]] = []
    if choice := result.get("model_search"):
        sections.append(["Radial functions", choice_text(choice)])
    if ends := result.get("at_range_ends"):
        text = "What is best may lie beyond these ranges; widen them as said and search again. "
        sections.append(["Ranges that end too early", text + " ".join(ends)])
    if pruning := result.get("pruning"):
        sections.append(["Pruning", pruning_text(pruning)])
    if densities := result.get("densities"):
        shown = {"convergence": densities} if densities["fitted"] else {}
        text = densities_text(densities)
        if densities["fitted"] and pruning and pruning["nested"]:
            text += " Both losses are of the functions that all folds chose together; the errors shown are nested."
        sections.append(["Further densities", text, shown])
    return [*sections, *coverage_sections(result.get("coverage")), *extrapolation_sections(result.get("extrapolation"))]


def choice_text(choice: Mapping[str, Any]) -> str:
    """Return in words what the model left open, and how it was settled."""
    losses = ", ".join(f"{words} {_number(loss)}" for words, loss in choice["losses"].items())
    return (
        f"The config left the radial functions open. {choice['chosen']} was taken, by the losses of short "
        f"cross-validated fits to {choice['frames']} training frames: {losses}."
    )


def pruning_text(pruning: Mapping[str, Any]) -> str:
    """Return in sentences what pruning left, and what the errors shown mean."""
    before, after = pruning["before"], pruning["after"]
    text = (
        f"Pruned from {before['functions']} functions ({before['products']} products, {before['multiplications']} "
        f"multiplications) to {after['functions']} ({after['products']} products, {after['multiplications']} "
        "multiplications): functions leave in the order of what leaving them out costs the fit, for what they cost "
        "to evaluate. "
    )
    if pruning["nested"]:
        return text + (
            "The validation errors are nested: the functions are chosen again without each fold, and the fold is "
            "predicted with that choice."
        )
    return text + "The validation frames had no part in the choice of the functions."


def densities_text(densities: Mapping[str, Any]) -> str:
    """Return in sentences whether more than one density helped, and by how much."""
    further = "a second density" if densities["densities"] == 2 else f"{densities['densities'] - 1} further densities"
    exponents = ", ".join(f"{value:g}" for value in densities["exponents"])
    if not densities["fitted"]:
        return (
            f"The model asks for {further} (exponents {exponents}), but the normal equations of the linear fit are "
            "singular and the fit of more densities starts from them: the linear fit was kept. A larger ridge or fewer "
            "functions help."
        )
    before, after = (_number(densities[key]) for key in ("linear_loss", "loss"))
    change = densities["change_percent"]
    if not densities["kept"]:
        much = "" if change is None else f" ({change:+.1f} %)"
        return (
            f"With {further} (exponents {exponents}) the validation loss is {after}{much} where the linear fit has "
            f"{before}: this did not help, and the linear fit was kept."
        )
    return (
        f"With {further} (exponents {exponents}) the validation loss fell by {abs(change):.1f} %, from {before} of the "
        f"linear fit to {after}. Validation chose {densities['iterations']} iterations; those that predict a fold are "
        "chosen by the other folds, while the curve takes the same for all."
    )


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
