"""Consent to run code that a file names: a program behind a saved potential, or what makes an ASE calculator."""

from __future__ import annotations

import os
from typing import Final

#: Set to 1, it allows what is read from files to run the code that it names.
CONSENT: Final = "FORCEWRIGHT_ALLOW_COMMANDS"


def consented() -> bool:
    """Tell whether the environment allows what is read from files to run the code that it names."""
    return os.environ.get(CONSENT) == "1"
