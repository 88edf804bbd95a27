"""What a client does in its training, whatever the system: it meets the others, checks its model, and takes an update.

Nobody checks or reads anything until all have entered, so that no client's check slows what another one receives.
"""

from __future__ import annotations

import numpy as np

from benchmarks.barrier import arrive
from benchmarks.peers.work import Float32, Work, largest_difference


def enter(work: Work, client: int) -> None:
    """Say that a client holds the round's model; return once all do."""
    arrive(work.entered, f"client-{client}")


def next_update(work: Work, client: int, turn: int, model: Float32) -> Float32:
    """Check the model that a client holds, and return its update once all have theirs.

    Parameters
    ----------
    turn : int
        Counted from 1; the model of the first turn is the initial one, that of every other the mean.
    """
    difference = largest_difference(model, work.initial if turn == 1 else work.mean)
    work.difference(client, turn).write_text(repr(difference))
    update: Float32 = np.load(work.update(client))
    arrive(work.ready, f"client-{client}")
    return update
