"""Plays the rounds of one run: lets the clients go, takes the time, and looks at what averages they got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from benchmarks.barrier import Barrier
from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.work import Work

_TOLERANCE = 1e-4
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the servers of one run needed.

    Parameters
    ----------
    server_pss_megabytes : float
        The largest PSS that all processes on the server's side had together in the measured rounds.
    server_high_water_megabytes : float
        Their VmHWM, summed, of those that were left at the end: a bound, which start and warm-up count for.
    samples : int
        How often they were looked at for that PSS.
    """

    server_pss_megabytes: float
    server_high_water_megabytes: float
    samples: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to.

    Parameters
    ----------
    seconds : tuple of float
        Of each measured round: from all updates ready until the last client holds their average.
    memory : Memory or None
        None where nobody looked.
    """

    seconds: tuple[float, ...]
    memory: Memory | None = None


def play(
    work: Work,
    entered: Barrier,
    ready: Barrier,
    watched: AbstractContextManager[object],
    check: Callable[[], None],
    patience: float,
) -> tuple[float, ...]:
    """Play a run's warm-up and rounds, and return the seconds of each measured one.

    Parameters
    ----------
    work : Work
    entered, ready : Barrier
        Where clients meet on entering their training, and with their updates.
    watched : context manager
        Open during the measured rounds.
    check : callable
        Raises where the run cannot go on; asked now and then.
    patience : float
        Seconds that one round may take.

    Raises
    ------
    RunFailedError
        A client did not come, or held something else than the updates' mean.
    """
    _gather(work, entered, ready, 1, check, patience)
    ready.release()
    _gather(work, entered, ready, 2, check, patience)  # who enters the second turn ends the warm-up
    seconds = []
    with watched:
        for turn in range(3, work.turns + 1):
            released = ready.release()
            seconds.append(_gather(work, entered, ready, turn, check, patience) - released)
    return tuple(seconds)


def _gather(
    work: Work, entered: Barrier, ready: Barrier, turn: int, check: Callable[[], None], patience: float
) -> float:
    """Bring all clients to the end of their training, models checked; return when the last one entered it."""
    arrivals = _arrivals(entered, f"turn {turn}", check, patience)
    entered.release()
    _arrivals(ready, f"the updates of turn {turn}", check, patience)
    _check_models(work, turn)
    return max(arrivals.values())


def _arrivals(barrier: Barrier, what: str, check: Callable[[], None], patience: float) -> Mapping[str, float]:
    waited = 0.0
    while True:
        with suppress(TimeoutError):
            return barrier.await_arrivals(_LOOK_SECONDS)
        check()
        waited += _LOOK_SECONDS
        if waited >= patience:
            raise RunFailedError(f"not all clients came to {what} in {patience:g} s")


def _check_models(work: Work, turn: int) -> None:
    for client in range(work.clients):
        difference = float(work.difference_file(client, turn).read_text())  # written before the client was ready
        if not difference <= _TOLERANCE:
            raise RunFailedError(f"in turn {turn} client {client} held a model that is off by {difference:g}")
