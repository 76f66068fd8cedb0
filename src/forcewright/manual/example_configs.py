"""A small valid config for each command, from which the annotated ones are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SETS = {"train": "train.extxyz", "test": "test.extxyz"}
_SW = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}
_CRYSTAL = {"bulk": "Si", "cubic": True}

EXAMPLE_CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tune": {"model": {"kind": "ace", "rcut": {"low": 4.0, "high": 6.0}}, "data": _SETS, "output": "runs/tuned"},
    "fit": {"model": {"kind": "ace"}, "data": _SETS, "output": "runs/fitted"},
    "compare": {
        "data": {**_SETS, "test": {"test": "test.extxyz"}},
        "families": {"ace": {"model": {"kind": "ace"}}, "snap": {"model": {"kind": "snap"}}},
        "output": "runs/compared",
    },
    "learning-curve": {"data": _SETS, "families": {"ace": {"model": {"kind": "ace"}}}, "output": "runs/curve"},
    "simulate": {
        "potential": "runs/si/potential",
        "structure": {**_CRYSTAL, "repeat": [3, 3, 3]},
        "stages": [{"ensemble": "nvt", "time_ps": 10, "temperature_K": 300}],
        "output": "runs/md",
    },
    "validate": {
        "potential": "runs/si/potential",
        "structure": _CRYSTAL,
        "reference": _SW,
        "properties": {"equation_of_state": {}, "elastic": {}},
        "output": "runs/physics",
    },
    "label": {"reference": {"xtb": {"method": "GFN1-xTB"}}, "structures": "made.extxyz", "output": "labelled.extxyz"},
    "generate": {
        "structures": {"si": _CRYSTAL},
        "recipes": [{"kind": "rattle", "amplitudes_A": [0.1, 0.2], "count": 20}],
        "output": "made.extxyz",
    },
    "learn": {
        "model": {"kind": "ace", "functions": 300},
        "start": "start.extxyz",
        "reference": _SW,
        "walkers": [
            {
                "name": "crystal",
                "structure": {**_CRYSTAL, "repeat": [2, 2, 2]},
                "stages": [{"ensemble": "nvt", "time_ps": 5, "temperature_K": 1000}],
            }
        ],
        "output": "runs/learned",
    },
    "distil": {
        "teacher": {"xtb": "GFN1-xTB"},
        "structures": {"si": {**_CRYSTAL, "repeat": [2, 2, 2]}},
        "student": {"model": {"kind": "ace", "functions": 300}},
        "output": "runs/distilled",
    },
    "assess": {
        "sets": {"molecules": {"files": "molecules.extxyz"}},
        "models": {"ace": {"potential": "runs/si/potential"}},
        "output": "runs/assessed",
    },
    "tune-dos": {
        "target": {
            "name": "dos",
            "grid": {"low": -15, "high": 10, "step": 0.1},
            "smearing_eV": 0.3,
            "file": "{stem}.npz",
        },
        "data": _SETS,
        "model": {"reference": "filling", "environment": {"cutoff": {"low": 5, "high": 7}}},
        "output": "runs/dos",
    },
    "tune-property": {
        "target": {
            "name": "shielding",
            "key": "ms",
            "mask": "has_ms",
            "irreps": "0e+1e+2e",
            "per": "atom",
            "unit": "ppm",
        },
        "data": _SETS,
        "model": {"cutoff": {"low": 4, "high": 6}, "degrees": [8, 9]},
        "output": "runs/shielding",
    },
    "ablate": {
        "data": {**_SETS, "test": {"test": "test.extxyz"}},
        "base": {"model": {"kind": "ace"}},
        "changes": {"shorter cutoff": {"model": {"rcut": 4.0}}, "no surfaces": {"without": ["Surface"]}},
        "output": "runs/ablated",
    },
    "pipeline": {"stages": {"structures": {"generate": "make.yaml"}, "labels": {"label": "label.yaml"}}},
}
