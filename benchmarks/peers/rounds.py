"""Plays the rounds of one run: lets the clients go, takes the time, and looks at what averages they got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.barrier import Barrier
from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.work import Work

_TOLERANCE = 1e-4
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to.

    Parameters
    ----------
    seconds : tuple of float
        Of each measured round: from all updates ready until the last client holds their average.
    server_pss_megabytes : float
        The largest PSS that all processes on the server's side had together.
    """

    seconds: tuple[float, ...]
    server_pss_megabytes: float


def play(work: Work, entered: Barrier, ready: Barrier, check: Callable[[], None], patience: float) -> tuple[float, ...]:
    """Play a run's warm-up and rounds, and return the seconds of each measured one.

    Parameters
    ----------
    entered, ready : Barrier
        Where clients meet on entering their training, and with their updates.
    check : callable
        Raises where the run cannot go on; asked now and then.
    patience : float
        Seconds that one round may take.

    Raises
    ------
    RunFailedError
        A client did not come, or held something else than the updates' mean.
    """
    seconds = []
    released = 0.0
    for turn in range(1, work.turns + 1):
        arrivals = _arrivals(entered, f"turn {turn}", check, patience)
        if turn > 2:  # turn 2 ends the warm-up
            seconds.append(max(arrivals.values()) - released)
        entered.release()
        _arrivals(ready, f"the updates of turn {turn}", check, patience)
        _check_models(work, turn)
        released = ready.release()
    return tuple(seconds)


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
