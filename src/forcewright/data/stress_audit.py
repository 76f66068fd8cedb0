"""Are the stress labels what the energies and forces say they are? Sign, unit and order, group by group.

A small potential is fitted to energies and forces alone (`probe_model`). Its stress is compared with the labels under
every order of the off-diagonals; the cosine between the two says how well an order fits, its sign says the sign, and
the ratio of lengths says the unit. Pressure is left out where it can be: forces at constant volume hardly fix it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from forcewright.data.findings import Finding, locate
from forcewright.structure import Dataset, FloatArray, to_voigt
from forcewright.units import BOHR, GPA, HARTREE, KBAR

#: Frames per group that are looked at; more would not change the verdict.
SAMPLE = 40
#: A verdict needs this cosine, this lead over the next order, and this many frames.
AGREEMENT, LEAD, FRAMES = 0.7, 0.15, 4
#: The probe speaks only where it explains this share of the variance of the forces.
PROBE_QUALITY = 0.7
_SLOTS = ("yz", "xz", "xy")
_UNITS = {
    "GPa": 1 / GPA, "kbar": 1 / KBAR, "bar": 1e4 / GPA, "Hartree/Bohr³": BOHR**3 / HARTREE,
    "10 kbar instead of GPa (a factor of ten too large)": 10.0, "a tenth (kbar taken for GPa)": 0.1,
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What fits one group best.

    ``order[s]`` is the component (0 yz, 1 xz, 2 xy) that slot s of the label really holds. ``agreement`` is the cosine
    of that order, ``as_labelled`` the one of the order given. ``scale`` is label over probe, negative for a wrong sign;
    ``per_virial`` is the label over the probe's stress times the volume.
    """

    group: str
    frames: int
    order: tuple[int, int, int]
    agreement: float
    as_labelled: float
    lead: float
    scale: float
    per_virial: float

    @property
    def decided(self) -> bool:
        """Whether frames, agreement and lead suffice."""
        return self.frames >= FRAMES and self.agreement >= AGREEMENT and self.lead >= LEAD

    @property
    def ordered(self) -> bool:
        """Whether the off-diagonals stand where they should."""
        return self.order == (0, 1, 2)


def check_stress(dataset: Dataset) -> tuple[list[Finding], dict[str, float]]:
    """Return findings about the stress labels and, per decided group, the cosine between labels and probe."""
    chosen = _sample(dataset)
    if not chosen:
        return [], {}
    predicted = predicted_stress(dataset, chosen)
    if predicted is None:
        note = "the forces are too few or too irregular to judge the stress by them"
        return [Finding("note", "stress not judged", note, field="stress")], {}
    groups: dict[str, list[int]] = defaultdict(list)
    for position, index in enumerate(chosen):
        if dataset[index].labels.stress is not None and dataset[index].structure.pbc.all():
            groups[dataset[index].labels.group].append(position)
    verdicts, places = [], {}
    for group, positions in sorted(groups.items()):
        members = [chosen[p] for p in positions]
        labels = np.array([to_voigt(np.asarray(dataset[i].labels.stress)) for i in members])
        volumes = np.array([dataset[i].structure.volume for i in members])
        verdicts.append(judge(group, labels, predicted[positions], volumes))
        places[group] = members[0]
    findings = list(_report(dataset, verdicts, places))
    return findings, {v.group: v.agreement for v in verdicts if v.decided}


def _sample(dataset: Dataset) -> list[int]:
    """Return up to SAMPLE frames of each group, evenly spaced; none if no stress is to be judged."""
    groups: dict[str, list[int]] = defaultdict(list)
    judged = False
    for index, (structure, labels, _) in enumerate(dataset):
        values = [structure.positions, structure.cell, labels.forces, labels.energy, labels.stress]
        if labels.forces is None or not all(v is None or np.isfinite(v).all() for v in values):
            continue
        if structure.pbc.any() and structure.volume <= 0:
            continue
        groups[labels.group].append(index)
        judged |= labels.stress is not None and bool(structure.pbc.all())
    spaced = {n: np.unique(np.linspace(0, n - 1, min(SAMPLE, n)).astype(int)) for n in map(len, groups.values())}
    return sorted(g[k] for g in groups.values() for k in spaced[len(g)]) if judged else []


def predicted_stress(dataset: Dataset, chosen: list[int]) -> FloatArray | None:
    """Return the stress (frames, 6) of a probe fitted to energies and forces, or None where the probe fails."""
    from forcewright.data.probe_model import ProbeBasis  # compiled neighbor lists: loaded where they are used

    basis = ProbeBasis(dataset[chosen].species)
    gram, target = np.zeros((basis.size, basis.size)), np.zeros(basis.size)
    stresses, total, count = [], 0.0, 0
    forces: list[tuple[FloatArray, FloatArray]] = []
    for index in chosen:
        structure, labels, _ = dataset[index]
        rows = basis.rows(structure)
        wanted = np.asarray(labels.forces).ravel()
        gram += rows.forces.T @ rows.forces
        target += rows.forces.T @ wanted
        total, count = total + float(wanted @ wanted), count + wanted.size
        forces.append((rows.energy, wanted))
        stresses.append(rows.stress)
    # Forces alone decide how good the probe is; energies fix what forces leave open (the volume dependence).
    force_gram, force_target = gram.copy(), target.copy()
    for (energy, _), index in zip(forces, chosen, strict=True):
        if dataset[index].labels.energy is not None:
            row = energy * (30.0 / len(dataset[index].structure))
            gram += np.outer(row, row)
            target += row * float(dataset[index].labels.energy or 0.0) * (30.0 / len(dataset[index].structure))
    coefficients = _solve(gram, target)
    explained = 2 * coefficients @ force_target - coefficients @ force_gram @ coefficients
    if count < 3 * basis.size or explained < PROBE_QUALITY * total:
        return None
    return np.array([rows @ coefficients for rows in stresses])


def _solve(gram: FloatArray, target: FloatArray) -> FloatArray:
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    scaled = gram / np.outer(scale, scale) + 1e-7 * np.eye(len(gram))
    return np.asarray(np.linalg.solve(scaled, target / scale) / scale, dtype=np.float64)


def judge(group: str, labels: FloatArray, predicted: FloatArray, volumes: FloatArray) -> Verdict:
    """Compare labels (frames, 6) with the probe's stress under every order of the off-diagonals."""
    shear = predicted[:, 3:]
    scores = {order: _cosine(labels[:, 3:][:, list(order)], shear) for order in permutations(range(3))}
    ranked = sorted(scores, key=lambda order: -abs(scores[order]))
    best = ranked[0]
    # labels[best[c]] holds component c, so slot s holds the component c with best[c] = s.
    holds = tuple(int(c) for c in np.argsort(best))
    full_labels = np.hstack([_deviatoric(labels), np.sqrt(2) * labels[:, 3:][:, list(best)]])
    full_probe = np.hstack([_deviatoric(predicted), np.sqrt(2) * shear])
    return Verdict(
        group=group,
        frames=int(np.count_nonzero(np.abs(shear).max(axis=1) > 0.1 * np.abs(shear).max(initial=0.0))),
        order=(holds[0], holds[1], holds[2]),
        agreement=abs(scores[best]),
        as_labelled=abs(scores[0, 1, 2]),
        lead=abs(scores[best]) - abs(scores[ranked[1]]),
        scale=float(np.sign(_cosine(full_labels, full_probe))) * _ratio(full_labels, full_probe),
        per_virial=_ratio(full_labels, full_probe * volumes[:, None]),
    )


def _deviatoric(stress: FloatArray) -> FloatArray:
    difference: FloatArray = stress[:, :3] - stress[:, :3].mean(axis=1, keepdims=True)
    return difference


def _cosine(one: FloatArray, other: FloatArray) -> float:
    return float(np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-300))


def _ratio(one: FloatArray, other: FloatArray) -> float:
    return float(np.linalg.norm(one) / (np.linalg.norm(other) + 1e-300))


def _report(dataset: Dataset, verdicts: list[Verdict], places: dict[str, int]) -> Iterator[Finding]:
    for verdict in verdicts:
        if not verdict.decided:
            continue
        at = {**locate(dataset[places[verdict.group]], places[verdict.group]), "field": "stress"}
        at["frame"] = None  # a whole group, not a frame
        if not verdict.ordered:
            yield Finding("error", "stress order", _order_message(dataset, verdict, verdicts, places), **at)
        if verdict.scale < 0:
            yield Finding("error", "stress sign", _sign_message(verdict), **at)
        problem = _unit_message(verdict)
        if problem:
            yield Finding("error", "stress unit", problem, **at)
    undecided = [f"{v.group} ({v.frames} telling frames)" for v in verdicts if not v.decided]
    if undecided:
        message = f"order, sign and unit of the stress cannot be judged by the forces in {', '.join(undecided)}"
        yield Finding("note", "stress not judged", message, field="stress")


def _orders(dataset: Dataset, verdict: Verdict, places: dict[str, int]) -> tuple[list[str], list[str]]:
    """Return the names of the off-diagonals as they were read and as they really stand, in the order of the file."""
    given = dataset[places[verdict.group]].labels.info.get("stress_order")
    read_as = str(given).replace(",", " ").split() if given else list(_SLOTS)
    slots = [next(k for k, slot in enumerate(_SLOTS) if set(slot) == set(word)) for word in read_as]
    return read_as, [read_as[slots.index(verdict.order[slot])] for slot in slots]


def _order_message(dataset: Dataset, verdict: Verdict, verdicts: list[Verdict], places: dict[str, int]) -> str:
    read_as, actual = _orders(dataset, verdict, places)
    right = [v.group for v in verdicts if v.decided and v.ordered]
    message = (
        f"group {verdict.group}: the off-diagonals fit the forces in the order {','.join(actual)} "
        f"(agreement {verdict.agreement:.2f}, {verdict.frames} frames), not {','.join(read_as)}"
        f"{f' as in group {right[0]}' if right else ''} (agreement {verdict.as_labelled:.2f}); "
    )
    if not dataset[places[verdict.group]].origin.partition("#")[0].endswith(".json"):
        return message + "put them in the right order"
    wrong = [v for v in verdicts if v.decided and not v.ordered]
    orders = ", ".join(f"{v.group!r}: {' '.join(_orders(dataset, v, places)[1])!r}" for v in wrong)
    return message + f"reread with stress_order={{{orders}}}"


def _sign_message(verdict: Verdict) -> str:
    return (
        f"group {verdict.group}: the stress has the opposite sign of what the forces say (agreement "
        f"{verdict.agreement:.2f}, {verdict.frames} frames); here tension is positive (virial = -stress·volume), "
        "VASP prints the opposite: multiply by -1"
    )


def _unit_message(verdict: Verdict) -> str:
    factor = abs(verdict.scale)
    if 0.5 < factor < 2.0:
        return ""
    distances = {name: abs(np.log(factor / value)) for name, value in _UNITS.items()}
    distances["a virial of the whole cell in eV, to be mapped as virial"] = abs(np.log(verdict.per_virial))
    best = min(distances.values())
    near = [name for name, distance in distances.items() if distance < 0.4 and distance < best + 0.1]
    guess = f"it looks like {' or '.join(near)}" if near else "the unit is not one of the usual"
    return (
        f"group {verdict.group}: the stress is {factor:.3g} times what the forces say (agreement "
        f"{verdict.agreement:.2f}, {verdict.frames} frames); {guess}, expected eV/Å³"
    )
