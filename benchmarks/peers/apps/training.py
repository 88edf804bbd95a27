"""What a client does in its training, whatever the system: it meets the others, checks its model, takes an update.

Nobody checks or reads anything until all have entered, so that no client's check slows what another one receives; and
nobody sends until all have their updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from benchmarks.barrier import arrive
from benchmarks.peers.work import Work


def enter(work: Work, client: int) -> None:
    """Say that a client holds the round's model; return once all do."""
    arrive(work.entered, f"client-{client}")


def check(work: Work, client: int, turn: int, model: Sequence[npt.NDArray[Any]]) -> None:
    """Write down how far the model that a client holds is from what it should be.

    Parameters
    ----------
    turn : int
        Counted from 1.
    model : sequence of ndarray
    """
    work.difference_file(client, turn).write_text(repr(work.largest_difference(model, turn)))


def leave(work: Work, client: int) -> None:
    """Say that a client has checked its model and holds its update; return once all may send theirs."""
    arrive(work.ready, f"client-{client}")
