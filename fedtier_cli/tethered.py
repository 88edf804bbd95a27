"""``python -m fedtier_cli.tethered PARENT PROGRAM ARGUMENTS``: runs a program that ends when its parent does.

A local run that is killed cannot end what it started. Linux then sends each of its
processes SIGTERM; elsewhere they stay.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_FEDTIER: Final = "fedtier"


def tethered(program: Sequence[str]) -> list[str]:
    """Return a call that runs a program as a child of this thread, for as long as this thread runs.

    Parameters
    ----------
    program : sequence of str
        Path, or a name on the PATH, and arguments; ``fedtier`` is the console script.
    """
    # -P: a folder named like one of our packages, where the user happens to be, is not imported.
    return [sys.executable, "-P", "-m", "fedtier_cli.tethered", str(os.getpid()), *program]


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        # Lasts beyond exec, and is of the thread that forked: man 2 prctl.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    _, started_by, path, *arguments = sys.argv
    _end_with(int(started_by))
    if path != _FEDTIER:
        # The path was given by our own code; no shell is wanted.
        os.execvp(path, [path, *arguments])  # nosec B606 # noqa: S606 -- no shell: this process becomes the program
    sys.argv[:] = [_FEDTIER, *arguments]
    runpy.run_module("fedtier_cli.main", run_name="__main__")
