"""What goes on in a training run: its clients, rounds and tests, followed until the clients stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest, parse_manifest
from fedtier.upstream import Unreachable, Upstream
from fedtier_cli.display import Display
from fedtier_cli.goal import Goal
from fedtier_cli.processes import Ended, Event, Fact, RunFailed
from fedtier_cli.progress import Progress, named, published_facts
from fedtier_cli.round_tests import RoundTests
from fedtier_cli.run_clients import Clients
from fedtier_cli.training_run import Run

_FASTEST_LOOK: Final = 0.1
"""Seconds; faster than a person reads, and slow enough that looking costs the run nothing."""
_WHILE_TESTING: Final = 1.0
"""Seconds between looks at S3's process."""
_TOLD_AFTER: Final = 10.0
"""Seconds without an answer after which that is worth a line: a server that starts again takes less."""


class Watch:
    """Follows clients, tests and rounds, and shows them.

    Parameters
    ----------
    run : Run
    clients : Clients
    goal : Goal
    tests : RoundTests
    clock : callable
        Monotonic seconds.
    display : Display
    """

    def __init__(
        self,
        run: Run,
        clients: Clients,
        goal: Goal,
        tests: RoundTests,
        clock: Callable[[], float],
        display: Display,
    ) -> None:
        self._children = run.children
        self._store = run.store
        self._clients = clients
        self._published = run.newest_round or 0
        self._tests = tests
        self._clock = clock
        self._display = display
        self._answered = clock()
        self._is_away = False
        self._progress = Progress(
            clients.names,
            last_round=goal.last_round,
            threshold=run.options.tiers.threshold,
            now=clock(),
        )

    def see(self, event: Event) -> None:
        """Take note of what a child did; raise `RunFailed` when it ended and should not."""
        if self._tests.takes(event):
            return
        if isinstance(event, Fact):
            self._progress.see_fact(event.members)
        if not self._clients.takes(event) and isinstance(event, Ended):
            raise event.child.ended(event.status)

    def until_clients_stop(self, server: Upstream) -> None:
        """Look at a server again and again until all clients have stopped; end them when the target is reached.

        Raises
        ------
        StartupError
            The open round waits for clients that there are not.
        RunFailed
            A process ended that should not.
        """
        self._require_enough(server)
        self._display.step("waiting for the clients")
        look_at = self._clock()
        while self._clients.is_running and self._tests.reached is None:
            self._clients.tend(self._clock(), self._published)
            if self._clock() >= look_at:
                look_at = self._clock() + self._look(server)
            self._see_events(look_at - self._clock())
            self._display.picture(self._progress.picture())
        if self._tests.reached is not None:
            self._display.step(f"round {self._tests.reached.round} reached the target; stopping the clients")
            self._clients.stop()
        self._look(server)

    def until_tested(self) -> None:
        """Wait until the published rounds are tested."""
        if self._tests.is_running:
            self._display.step("testing")
        while self._tests.is_running:
            self._see_events(_WHILE_TESTING)
            self._store.require_alive()

    def _see_events(self, seconds: float) -> None:
        """See what children do, waiting for it so long; all there is at once, since a picture of it costs more."""
        event = self._children.next_event(seconds)
        while event is not None:
            self.see(event)
            event = self._children.next_event(0.0)

    def _require_enough(self, server: Upstream) -> None:
        """Refuse to wait for ever for a round that an earlier call opened for more clients, or for others."""
        try:
            status = server.round_status()
        except (Unreachable, Problem) as error:
            raise RunFailed(f"the master does not say which round is open: {error}") from None
        names = self._clients.names
        able = sum(status.selects(name) for name in names)
        if status.threshold <= able:
            return
        if status.cohort is None:
            raise StartupError(
                f"round {status.round} was opened by an earlier call and closes at {status.threshold} clients, more "
                f"than the {able} there are; {self._clients.having(status.threshold)}"
            )
        here = set(names)
        absent = [name for name in status.cohort if name not in here]
        raise StartupError(
            f"round {status.round} was opened by an earlier call and selects clients that are not among these "
            f"{len(names)}: {named(absent)}; {self._clients.having_others}"
        )

    def _look(self, server: Upstream) -> float:
        """Ask how the round stands, and return in how many seconds to ask again."""
        self._store.require_alive()
        try:
            status = server.round_status()
            while self._published < status.round - 1:
                manifest = parse_manifest(server.manifest(self._published + 1))
                if isinstance(manifest, RoundManifest):
                    self._display.published(published_facts(manifest))
                self._published += 1
        except (Unreachable, Problem) as error:
            # It may be starting again; when it ends for good, its end is an event.
            self._see_away(server, error)
            return 5 * _FASTEST_LOOK
        self._see_answer(server)
        self._progress.see_status(status, self._clock())
        return max(status.poll_after, _FASTEST_LOOK)

    def _see_away(self, server: Upstream, reason: Unreachable | Problem) -> None:
        if not self._is_away and self._clock() - self._answered >= _TOLD_AFTER:
            self._is_away = True
            self._display.note(f"{server.url} is away, and waited for: {reason}")

    def _see_answer(self, server: Upstream) -> None:
        self._answered = self._clock()
        if self._is_away:
            self._is_away = False
            self._display.note(f"{server.url} answers again")
