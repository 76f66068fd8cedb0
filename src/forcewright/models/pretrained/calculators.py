"""Calculators of pretrained models from files of weights that have been looked at; their packages are imported here."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from ase.calculators.calculator import Calculator


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what packages print, and warn of while they are made ready, from the user."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def chgnet_calculator(weights: Path) -> Calculator:
    """Return CHGNet 0.3.0, whose file is read as tensors and plain values alone."""
    with _quietly():
        import torch
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        state = torch.load(weights, map_location="cpu", weights_only=True)
        model = CHGNet.from_dict(state["model"], mlp_out_bias=False, version="0.3.0")
        made: Calculator = CHGNetCalculator(model, use_device="cpu", on_isolated_atoms="ignore")
    return made


def sevennet_calculator(weights: Path) -> Calculator:
    """Return SevenNet-0; its file holds pickled settings, which is why its hash is looked at before."""
    with _quietly():
        from sevenn.calculator import SevenNetCalculator

        made: Calculator = SevenNetCalculator(str(weights), device="cpu")
    return made
