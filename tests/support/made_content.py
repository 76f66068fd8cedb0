"""A synthetic study with plausible numbers: what tests and eyes look at in place of a true one."""

from __future__ import annotations

from typing import Any

import numpy as np

from forcewright.accuracy import ErrorTable, compare
from forcewright.potential import Prediction
from forcewright.report import ReportContent, Section
from forcewright.report.drawing import dress, new_figure
from forcewright.structure import Dataset, Frame, Labels, Structure

GROUPS = ("h2i_eos", "h2i_md_500K", "h2i_md_800K", "h2i_rattle", "h2i_strain",
          "hv_eos", "hv_md_500K", "hv_md_800K", "hv_rattle", "hv_strain")  # fmt: skip


CONFIG = """model:
  kind: snap
  twojmax: {low: 4, high: 8}
  rcut: {low: 3.0, high: 6.0}
data:
  train: train.extxyz
"""


def make_table(frames: int, seed: int, groups: tuple[str, ...] = GROUPS, *, stress: bool = True) -> ErrorTable:
    rng = np.random.default_rng(seed)
    made, predictions = [], []
    for index in range(frames):
        group = groups[index % len(groups)]
        atoms, hot = 63, 1 + 0.4 * (index % len(groups))
        structure = Structure(np.full(atoms, 6), rng.random((atoms, 3)), np.eye(3) * 7.1, np.ones(3, bool))
        forces = hot * rng.standard_t(5, size=(atoms, 3))
        tensor = np.diag(rng.normal(0, 0.06 * hot, 3))
        energy = -9.0 * atoms + 3 * hot * rng.random() * atoms / 30
        made.append(Frame(structure, Labels(energy, forces, tensor if stress else None, group)))
        predictions.append(
            Prediction(
                energy + 0.15 * hot * rng.normal(), forces + 0.12 * hot * rng.standard_t(4, size=(atoms, 3)),
                tensor + 0.003 * rng.normal(size=(3, 3)) if stress else None,
            )
        )  # fmt: skip
    return compare(Dataset(tuple(made)), predictions, rng=np.random.default_rng(0))


def make_trials(count: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    trials: list[dict[str, Any]] = []
    for index in range(count):
        initial = index < 12
        near = 1.0 if initial else max(0.15, 1 - index / 40)
        rcut = float(np.clip(4.4 + near * rng.uniform(-1.4, 1.6), 3.0, 6.0))
        width = float(np.clip(0.9 + near * rng.uniform(-0.4, 0.1), 0.5, 1.0))
        twojmax = int(rng.integers(4, 9)) if initial else int(rng.choice([6, 7, 8], p=[0.2, 0.3, 0.5]))
        weight = float(10 ** np.clip(1.0 + near * rng.uniform(-3, 3), -2, 4))
        kind = str(rng.choice(["linear", "quadratic"]))
        loss = 0.1 + 0.05 * (rcut - 4.4) ** 2 + 0.3 * (width - 0.88) ** 2 + 0.04 * (8 - twojmax)
        loss += 0.012 * (np.log10(weight) - 1) ** 2 + 0.02 * (kind == "linear") + 0.01 * rng.random()
        failed = rng.random() < 0.06
        trials.append(
            {
                "index": index, "state": "failed" if failed else "complete",
                "phase": "initial" if initial else "bayesian",
                "loss": None if failed else loss,
                "params": {"rcut": rcut, "rfac0": width, "twojmax": twojmax, "force_weight": weight, "kind": kind},
                "energy_rmse_meV_per_atom": None if failed else 22 * loss,
                "force_rmse_eV_per_A": None if failed else 1.3 * loss,
                "cost_us_per_atom": 3.0 * twojmax**3 / 100 * (rcut / 4) ** 3 * (1 + (kind == "quadratic")),
                "evaluations": 400, "wall_s": 20 + 60 * rng.random(),
                "error": "The equations are singular: rfac0 0.52 leaves 14 descriptors constant." if failed else "",
            }
        )  # fmt: skip
    return trials


def make_content(*, protocol: str = "honest", title: str = "Hydrogen in diamond: quadratic SNAP") -> ReportContent:
    validation, test = make_table(250, 1), make_table(50, 2)
    trials = make_trials()
    figure = new_figure(2.6)
    ax = figure.subplots()
    time = np.arange(2000) * 0.5
    ax.plot(time, 300 + 25 * np.random.default_rng(0).normal(size=2000).cumsum() / 40, linewidth=0.7)
    dress(ax, "time (fs)", "temperature (K)")
    return ReportContent(
        title=title,
        result={
            "settings": {"ridge": 3.2e-8}, "trials": 60, "evaluations": 24_000, "wall_s": 1832.0, "cpu_s": 3120.0,
            "peak_memory_bytes": 1.34e9, "cost_us_per_atom": 31.2, "protocol": protocol, "seed": 7,
            "validation": validation.to_dict(), "test": test.to_dict(), "command": ["forcewright", "run", "study.yaml"],
            "machine": {"processor": "x86_64, 2 cores", "system": "Linux"},
            "versions": {"forcewright": "0.1.0", "python": "3.11.2", "numpy": "2.3.1", "lammps": "2025.7.22"},
            "data_hashes": {"train.extxyz": "7c9e2f" * 10 + "7c9e", "test.extxyz": "ab01cd" * 10 + "ab01"},
        },
        config_text=CONFIG,
        trials=trials,
        parity={"validation": validation.parity, "test": test.parity},
        importance={"rcut": 0.46, "twojmax": 0.27, "force_weight": 0.15, "rfac0": 0.08, "kind": 0.04},
        findings=[
            ("warning", "train.extxyz", 41, "forces", "The largest force is 24.1 eV/Å, 6 times the next one."),
            ("note", "train.extxyz", None, "energy", "There are no isolated atoms; E0 comes from least squares."),
            ("error", "train.extxyz", 103, "positions", "Atoms 3 and 17 are 0.31 Å apart; the frame is left out."),
        ],
        reference_energies={"C": -48.123456, "H": -10.70716},
        reference_energies_source="least squares of the training energies on the composition.",
        label_counts={"train": {"energy": 250, "forces": 250, "stress": 250}, "test": {"energy": 50, "forces": 50}},
        group_sizes=dict.fromkeys(GROUPS, 25),
        chosen={"twojmax": 8, "rcut": 4.41234, "rfac0": 0.8712, "kind": "quadratic", "ridge": 3.2e-8,
                "radii": {"C": 0.5, "H": 0.41},
                "weights": {name: {"energy": 10.0**k, "force": 0.316, "stress": 3.16} for k, name in enumerate(GROUPS)}},
        citations=[
            {"key": "thompson2015", "text": "A. P. Thompson et al., J. Comput. Phys. 285, 316 (2015)."},
            {"key": "dutoit2025", "text": "D. F. Thomas du Toit, DPhil thesis, University of Oxford (2025)."},
        ],
        sections=[Section("Molecular dynamics", "C62H at 300 K.\n\nThe energy drifts by 0.1 meV/atom.", [figure])],
    )  # fmt: skip
