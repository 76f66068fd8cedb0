"""The program ``forcewright``: an interruption ends in a word also while everything else is still being imported."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line (`forcewright.cli.main`), whose own handlers take over once it is there."""
    here = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == here:
            os.write(2, b"stopped\n")
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    from forcewright.cli import main as run  # only now: it takes a second or two

    run()


if __name__ == "__main__":
    main()
