"""Makes what lies beside it: run folders, journals and potentials of the version before `fitting/` (commit e0cc3f5).

Run with that version installed: ``python make_runs.py``. The word @HERE@ stands for the folder in all text files.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

import forcewright as fw

HERE = Path(__file__).resolve().parent
RUNS = HERE / "made"

SNAP = {"kind": "snap", "twojmax": 2, "rcut": {"low": 3.0, "high": 4.5}}
ACE = {"functions": 12, "rcut": 4.0, "nradmax": [4, 2, 1], "lmax": [0, 1, 1]}
FAMILIES: dict[str, dict[str, Any]] = {
    "snap": {"kind": "snap", "twojmax": 2, "rcut": 4.0},
    "ace": {"kind": "ace", **ACE},
    "ace-densities": {"kind": "ace", **ACE, "densities": 2, "nonlinear": {"iterations": 4, "patience": 2}},
    "gap": {"kind": "gap", "two_body": {"cutoff": 4.0, "n_sparse": 5}, "soap": None},
    "sgdml": {"kind": "sgdml", "sigmas": [10.0], "n_train": 6},
    "graph": {"kind": "graph", "architecture": "painn", "cutoff": 4.0, "channels": 4, "layers": 1,
              "radial_features": 4, "epochs": 3, "precision": "float64"},
    "command": {
        "kind": "command", "cutoff": 4.0,
        "labels": {"energy": "REF_energy", "forces": "REF_forces", "virial": "REF_virial"},
        "fit": ["gap_fit", "at_file=${train}", "gp_file=gp.xml", "rnd_seed=${seed}", "do_copy_at_file=F",
                "gap={distance_2b cutoff=${cutoff} covariance_type=ard_se delta=0.5 theta_uniform=1.0 "
                "sparse_method=uniform n_sparse=5 add_species=T}",
                "e0={Cu:${e0_Cu}}", "default_sigma={0.001 0.05 0.02 0.0}", "energy_parameter_name=REF_energy",
                "force_parameter_name=REF_forces", "virial_parameter_name=REF_virial"],
        "outputs": ["gp.xml", "gp.xml.sparseX*"],
        "predict": {"ase": "quippy.potential:Potential", "kwargs": {"param_filename": "${potential}/gp.xml"}},
    },
}  # fmt: skip
LINEAR = ("snap", "ace", "ace-densities")


def frames(count: int, seed: int, cells: bool = False) -> list:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        surface = number % 4 == 3 and not cells
        atoms = fcc111("Cu", (2, 2, 2), vacuum=5.0) if surface else bulk("Cu", cubic=True)
        atoms.pbc = True
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        atoms.info["config_type"] = "surface" if surface else "bulk"
        made.append(atoms)
    return made


def study(output: str, model: dict[str, Any], **more: Any) -> dict[str, Any]:
    own = {} if model["kind"] in ("snap", "ace") else {"validation": {"kfold": 2}}
    return {
        "data": {"train": str(RUNS / "train.extxyz"), "test": str(RUNS / "test.extxyz")},
        "validation": {"kfold": 4}, "model": model, "workers": 1, "output": str(RUNS / output),
        **({"search": {"starts": 2, "evaluations": 10}} if model["kind"] in ("snap", "ace") else {}),
        **own, **more,
    }  # fmt: skip


def predictions(potential: Any, dataset: Any) -> list[list[Any]]:
    found = potential.predict(dataset.structures)
    return [[p.energy, p.forces.tolist(), None if p.stress is None else p.stress.tolist()] for p in found]


def main() -> None:
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir()
    fw.write(fw.Dataset.from_ase(frames(16, 0), "train"), RUNS / "train.extxyz")
    fw.write(fw.Dataset.from_ase(frames(4, 1), "test"), RUNS / "test.extxyz")
    fw.write(fw.Dataset.from_ase(frames(10, 2, cells=True), "cells"), RUNS / "cells.extxyz")
    train, test, cells = (fw.read(RUNS / f"{name}.extxyz") for name in ("train", "test", "cells"))

    searched = {"settings": 3, "initial": 2, "seed": 1}
    fw.tune(study("finished", SNAP, study=searched))
    for name in ("cache",):
        shutil.rmtree(RUNS / "finished" / name, ignore_errors=True)
    # what a study leaves that was stopped after two trials
    whole = fw.tune(study("stopped", SNAP, study={**searched, "settings": 3}))
    expected = [[t.index, t.params, t.loss] for t in whole.trials]
    kept = (RUNS / "stopped" / "journal.log").read_bytes()
    shutil.rmtree(RUNS / "stopped")

    class Stop(Exception):
        pass

    def stop(trial: Any, wanted: int) -> None:
        if trial.index == 1:
            raise Stop

    with contextlib.suppress(Stop):
        fw.tune(study("stopped", SNAP, study=searched), on_trial=stop)
    assert (RUNS / "stopped" / "journal.log").read_bytes() != kept
    shutil.rmtree(RUNS / "stopped" / "cache", ignore_errors=True)
    (RUNS / "stopped.trials.json").write_text(json.dumps(expected, indent=1) + "\n")
    (RUNS / "stopped.potential.json").write_text(json.dumps(whole.potential.coefficients.tolist()) + "\n")
    nested = study("nested", SNAP, study=searched, validation={"kfold": 3, "nested": True})
    fw.tune(nested)
    fw.tune(study("gap", FAMILIES["gap"]))
    fw.fit(study("ace", {**FAMILIES["ace"], "prune": {"products": 15}}))

    told: dict[str, Any] = {}
    for name, model in FAMILIES.items():
        if name == "ace-densities":  # a fit of two densities to these frames predicts no better than a linear one
            from forcewright.models.ace import AceModel

            ace = AceModel(**model)
            basis = ace.basis((29,))
            coefficients = 0.05 * np.random.default_rng(5).normal(size=(basis.size, 2))
            found = ace.potential(basis, coefficients, {29: -0.5})
        elif name in LINEAR:
            found = fw.fit(study(f"fit-{name}", model)).potential
            shutil.rmtree(RUNS / f"fit-{name}")
        else:
            from forcewright.models import model_class

            data = cells if name == "sgdml" else train
            found = model_class(model["kind"])(**model).fit(data, rng=np.random.default_rng(0))
        found.save(RUNS / "potentials" / name)
        found = fw.load(RUNS / "potentials" / name, allow_commands=True)
        told[name] = predictions(found, cells[:2] if name == "sgdml" else test[:2])
    (RUNS / "predictions.json").write_text(json.dumps(told) + "\n")

    curve = {
        "data": {"train": str(RUNS / "train.extxyz"), "test": str(RUNS / "test.extxyz")},
        "families": {"snap": {"model": FAMILIES["snap"]}},
        "common": {"validation": {"kfold": 2}, "search": {"starts": 1, "evaluations": 5}, "workers": 1},
        "sizes": [8, 16], "repeats": 1, "output": str(RUNS / "curve"),
    }  # fmt: skip
    from forcewright.recipes.learning_curve import learning_curve

    learning_curve(curve)
    (RUNS / "curve.yaml").write_text(yaml.safe_dump(curve))
    fw.compare({
        "data": {"train": str(RUNS / "train.extxyz"), "test": str(RUNS / "test.extxyz")},
        "families": {"snap": {"model": FAMILIES["snap"]}, "given": str(RUNS / "potentials" / "ace")},
        "common": {"validation": {"kfold": 2}, "search": {"starts": 1, "evaluations": 5}, "workers": 1},
        "output": str(RUNS / "comparison"),
    })  # fmt: skip

    run = {
        "potential": str(RUNS / "potentials" / "snap"), "structure": {"bulk": "Cu", "cubic": True, "repeat": [2, 2, 2]},
        "seed": 3, "output": str(RUNS / "simulation"), "trajectory": {"every_fs": 20}, "checkpoint_every_steps": 10,
        "stages": [{"ensemble": "nvt", "thermostat": "langevin", "temperature_K": 300, "time_ps": 0.06,
                    "timestep_fs": 2.0}],
    }  # fmt: skip
    fw.simulate(run)
    expected_run = {name: (RUNS / "simulation" / name).read_text() for name in ("thermo.csv", "trajectory.extxyz")}
    (RUNS / "simulation.expected.json").write_text(json.dumps(expected_run) + "\n")
    shutil.rmtree(RUNS / "simulation")
    (RUNS / "simulation.yaml").write_text(yaml.safe_dump(run))
    (RUNS / "finished.yaml").write_text(yaml.safe_dump(study("finished", SNAP, study=searched)))
    (RUNS / "stopped.yaml").write_text(yaml.safe_dump(study("stopped", SNAP, study=searched)))
    (RUNS / "nested.yaml").write_text(yaml.safe_dump(nested))
    (RUNS / "gap.yaml").write_text(yaml.safe_dump(study("gap", FAMILIES["gap"])))
    (RUNS / "ace.yaml").write_text(yaml.safe_dump(study("ace", {**FAMILIES["ace"], "prune": {"products": 15}})))

    def stop_run(state: Any) -> None:
        if state.step > 21:
            raise Stop

    with contextlib.suppress(Stop):
        fw.simulate(run, on_progress=stop_run)

    for path in sorted(RUNS.rglob("*")):
        if path.is_dir():
            continue
        if path.suffix in (".html", ".png", ".lock") or path.name in ("forcewright.log", "in.lammps"):
            path.unlink()
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        path.write_text(text.replace(str(RUNS), "@HERE@"))


if __name__ == "__main__":
    main()
