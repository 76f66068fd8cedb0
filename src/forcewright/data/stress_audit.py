"""Are the stress labels what the energies and forces say they are? Sign, unit and order, group by group.

A small potential is fitted to energies and forces alone (`probe_model`). Its stress is compared with the labels under
every order of the off-diagonals; the cosine between the two says how well an order fits, its sign says the sign, and
the ratio of lengths says the unit. Pressure is left out where it can be: forces at constant volume hardly fix it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from forcewright.data.findings import Finding
from forcewright.data.probe_fit import ProbeSample, fit
from forcewright.structure import FloatArray, Frame, to_voigt
from forcewright.units import BOHR, GPA, HARTREE, KBAR

#: A verdict needs this cosine, this lead over the next order, and this many frames.
AGREEMENT, LEAD, FRAMES = 0.7, 0.15, 4
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


def check_stress(sample: ProbeSample, trusted: Container[str] | None = None) -> tuple[list[Finding], dict[str, float]]:
    """Return findings about the stress labels and, per decided group, the cosine between labels and probe.

    Where forces of some groups do not belong to their energies, only groups that are ``trusted`` take part in the fit.
    """
    stressed = {g: [k for k in sample.members(g) if _has_stress(sample.frames[k])] for g in sorted(sample.sums)}
    judged = {group: members for group, members in stressed.items() if members}
    if not judged:
        return [], {}  # nothing to judge, or nothing to judge it by: `audit` says which
    sums = [part for group, part in sample.sums.items() if trusted is None or group in trusted]
    probe = fit(sums, energies=True)
    if probe is None:
        note = "the forces are too few or too irregular to judge the stress by them"
        return [Finding("note", "stress not judged", note, field="stress")], {}
    verdicts = []
    for group, members in judged.items():
        labels = np.array([to_voigt(np.asarray(sample.frames[k].labels.stress)) for k in members])
        predicted = np.array([sample.stress_rows[k] @ probe.coefficients for k in members])
        volumes = np.array([sample.frames[k].structure.volume for k in members])
        verdicts.append(judge(group, labels, predicted, volumes))
    examples = {group: sample.frames[members[0]] for group, members in judged.items()}
    return list(_report(verdicts, examples)), {v.group: v.agreement for v in verdicts if v.decided}


def _has_stress(frame: Frame) -> bool:
    return frame.labels.stress is not None and bool(frame.structure.pbc.all())


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


def _cosine(a: FloatArray, b: FloatArray) -> float:
    return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-300))


def _ratio(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a) / (np.linalg.norm(b) + 1e-300))


def _report(verdicts: list[Verdict], examples: Mapping[str, Frame]) -> Iterator[Finding]:
    for verdict in verdicts:
        if not verdict.decided:
            continue
        file = examples[verdict.group].origin.rpartition("#")[0] or None  # a whole group, not a frame
        if not verdict.ordered:
            yield Finding("error", "stress order", _order_message(verdict, verdicts, examples), file, field="stress")
        if verdict.scale < 0:
            yield Finding("error", "stress sign", _sign_message(verdict), file, field="stress")
        if problem := _unit_message(verdict):
            yield Finding("error", "stress unit", problem, file, field="stress")
    if undecided := [f"{v.group} ({v.frames} telling frames)" for v in verdicts if not v.decided]:
        message = f"order, sign and unit of the stress cannot be judged by the forces in {', '.join(undecided)}"
        yield Finding("note", "stress not judged", message, field="stress")


def _orders(verdict: Verdict, example: Frame) -> tuple[list[str], list[str]]:
    """Return the names of the off-diagonals as they were read and as they really stand, in the order of the file."""
    order = example.labels.info.get("stress_order")
    read_as = str(order).replace(",", " ").split() if order else list(_SLOTS)
    slots = [next(k for k, slot in enumerate(_SLOTS) if set(slot) == set(word)) for word in read_as]
    return read_as, [read_as[slots.index(verdict.order[slot])] for slot in slots]


def _order_message(verdict: Verdict, verdicts: list[Verdict], examples: Mapping[str, Frame]) -> str:
    example = examples[verdict.group]
    read_as, actual = _orders(verdict, example)
    right = [v.group for v in verdicts if v.decided and v.ordered]
    message = (
        f"group {verdict.group}: the off-diagonals fit the forces in the order {','.join(actual)} "
        f"(agreement {verdict.agreement:.2f}, {verdict.frames} frames), not {','.join(read_as)}"
        f"{f' as in group {right[0]}' if right else ''} (agreement {verdict.as_labelled:.2f}); "
    )
    if not example.origin.partition("#")[0].endswith(".json"):
        return message + "put them in the right order"
    wrong = [v for v in verdicts if v.decided and not v.ordered]
    orders = ", ".join(f"{v.group!r}: {' '.join(_orders(v, examples[v.group])[1])!r}" for v in wrong)
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
