"""Runs one client, or several in one process that take turns."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from client.options import ClientOptions, Surroundings, require_possible
from client.participant import Participant
from client.performer import Pause, Performer
from client.stopping import BrokenOff, Patience
from client.task import load_task
from client.transport import Outage, Transport
from client.updates import SavedUpdates, make_directory
from fedtier.problems import StartupError
from fedtier.upstream import Upstream


def run_client(options: ClientOptions, surroundings: Surroundings | None = None) -> int:
    """Take part in rounds until there is nothing left to do; see `run_clients`."""
    return run_clients([options], surroundings)


def run_clients(clients: Sequence[ClientOptions], surroundings: Surroundings | None = None) -> int:
    """Take part in rounds as several clients, until there is nothing left to do for any.

    Each has its own state, task and requests, and sends what it would send from a process
    of its own. One that fails does not stop the others.

    Parameters
    ----------
    clients : sequence of ClientOptions
        Ids and state directories differ.
    surroundings : Surroundings, optional

    Returns
    -------
    int
        Exit status: 0 when each reached its last round, or the federation finished; 1 where one failed; else that of
        `Stopping`, where they were told to stop before.

    Raises
    ------
    StartupError
        An option cannot be, or no server was there in time.
    """
    chosen = surroundings or Surroundings()
    for options in clients:
        require_possible(options)
    _require_distinct(clients)
    with ExitStack() as held:
        outage = Outage()
        performers = [_opened(options, chosen, outage, held) for options in clients]
        chosen.stopping.last_words = lambda: _stop(performers)
        chosen.stopping.failed = lambda: any(performer.failed for performer in performers)
        try:
            for performer in performers:
                performer.prepare()
            _take_turns(performers, chosen)
        except BrokenOff:
            _stop(performers)
            return chosen.stopping.exit_status()
        return 1 if chosen.stopping.failed() else 0


def _require_distinct(clients: Sequence[ClientOptions]) -> None:
    seen: set[str] = set()
    for options in clients:
        if options.client_id in seen:
            raise StartupError(f"--client-id {options.client_id} is given twice; give each client its own")
        seen.add(options.client_id)


def _opened(options: ClientOptions, surroundings: Surroundings, outage: Outage, held: ExitStack) -> Performer:
    try:
        make_directory(options.state_dir)
        updates = SavedUpdates(options.state_dir)
        found = updates.found()
        if not found:  # one that is there is sent without room for another
            updates.require_room()
    except OSError as error:
        raise StartupError(
            f"the state directory {options.state_dir} cannot be used: {error}; make room, or choose another --state-dir"
        ) from None
    transport = Transport(
        held.enter_context(Upstream(options.server, token=options.token, tls=options.tls)),
        options.client_id,
        wait=options.wait,
        retry_budget=options.retry_budget,
        clock=surroundings.clock,
        rng=surroundings.rng,
        outage=outage,
        metrics=surroundings.metrics,
    )
    return Performer(
        options,
        surroundings,
        participant=Participant(options.client_id, last_round=options.rounds, saved=found),
        transport=transport,
        updates=updates,
        load_task=lambda: load_task(options.task, options.data),
    )


def _take_turns(performers: Sequence[Performer], surroundings: Surroundings) -> None:
    """Let each client act when it is due, until all have stopped."""
    due = [(surroundings.clock(), number) for number in range(len(performers))]
    while due:
        at, number = heapq.heappop(due)
        pause = at - surroundings.clock()
        if pause > 0:
            surroundings.stopping.breakable(Patience.NONE, partial(surroundings.sleep, pause))
        turn = performers[number].advance()
        if isinstance(turn, Pause):
            heapq.heappush(due, (surroundings.clock() + turn.seconds, number))


def _stop(performers: Sequence[Performer]) -> None:
    for performer in performers:
        performer.stop()
