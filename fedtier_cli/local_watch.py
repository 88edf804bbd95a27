"""What goes on in a training run: its processes, rounds and tests, followed until the clients stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest, parse_manifest
from fedtier.upstream import Unreachable, Upstream
from fedtier_cli.display import Display
from fedtier_cli.goal import Goal
from fedtier_cli.local import LocalRun
from fedtier_cli.local_clients import ClientProcess, client_name
from fedtier_cli.local_testing import RoundTests
from fedtier_cli.processes import Child, Children, Ended, Event, Fact, RunFailed, status_in_words
from fedtier_cli.progress import Progress, named, published_facts
from fedtier_cli.tiers import EmbeddedStore

_FASTEST_LOOK: Final = 0.1
"""Seconds; faster than a person reads, and slow enough that looking costs the run nothing."""
_WHILE_TESTING: Final = 1.0
"""Seconds between looks at S3's process."""


class Watch:
    """Follows clients, tests and rounds, and shows them.

    Parameters
    ----------
    run : LocalRun
    clients : list of ClientProcess
    goal : Goal
    tests : RoundTests
    clock : callable
        Monotonic seconds.
    display : Display
    """

    def __init__(
        self,
        run: LocalRun,
        clients: list[ClientProcess],
        goal: Goal,
        tests: RoundTests,
        clock: Callable[[], float],
        display: Display,
    ) -> None:
        self._children: Children = run.children
        self._store: EmbeddedStore = run.store
        self._names = {client.child: client.names for client in clients}
        self._running = set(self._names)
        self._published = run.newest_round or 0
        self._tests = tests
        self._clock = clock
        self._display = display
        self._progress = Progress(
            [client_name(number) for number in range(run.options.clients)],
            last_round=goal.last_round,
            threshold=run.options.tiers.threshold,
            now=clock(),
        )

    def see(self, event: Event) -> None:
        """Take note of what a child did; raise `RunFailed` when it ended and should not."""
        if self._tests.takes(event):
            return
        match event:
            case Fact(child, members):
                self._progress.see_fact(members)
                self._require_going_on(child, members)
            case Ended(child, status) if child in self._running and status == 0:
                self._running.remove(child)
            case Ended(child, status) if len(names := self._names.get(child, ())) > 1:
                raise child.failure(f"with {named(names)} ended {status_in_words(status)}")
            case Ended(child, status):
                raise child.ended(status)

    def _require_going_on(self, child: Child, members: Mapping[str, Any]) -> None:
        """Notice a client that stopped and whose process goes on with others; one that is alone ends its process."""
        if members["event"] == "finished" and not members.get("ok", True) and len(self._names.get(child, ())) > 1:
            raise child.failure(f"plays {members['client_id']}, which stopped: {members['detail']}")

    def until_clients_stop(self, master: Upstream) -> None:
        """Look at the master again and again until all clients have stopped; end them when the target is reached.

        Raises
        ------
        StartupError
            The open round waits for clients that there are not.
        RunFailed
            A process ended that should not.
        """
        self._require_enough(master)
        self._display.step("waiting for the clients")
        look_at = self._clock()
        while self._running and self._tests.reached is None:
            if self._clock() >= look_at:
                look_at = self._clock() + self._look(master)
            self._see_events(look_at - self._clock())
            self._display.picture(self._progress.picture())
        if self._tests.reached is not None:
            self._display.step(f"round {self._tests.reached.round} reached the target; stopping the clients")
            self._children.stop("client")
        self._look(master)

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

    def _require_enough(self, master: Upstream) -> None:
        """Refuse to wait for ever for a round that an earlier call opened for more clients, or for others."""
        try:
            status = master.round_status()
        except (Unreachable, Problem) as error:
            raise RunFailed(f"the master does not say which round is open: {error}") from None
        names = [name for names in self._names.values() for name in names]
        able = sum(status.selects(name) for name in names)
        if status.threshold <= able:
            return
        if status.cohort is None:
            raise StartupError(
                f"round {status.round} was opened by an earlier call and closes at {status.threshold} clients, more "
                f"than the {able} there are; call with --clients {status.threshold} until it is published"
            )
        here = set(names)
        absent = [name for name in status.cohort if name not in here]
        raise StartupError(
            f"round {status.round} was opened by an earlier call and selects clients that are not among these "
            f"{len(names)}: {named(absent)}; call with the --clients of that call until it is published"
        )

    def _look(self, master: Upstream) -> float:
        """Ask the master how the round stands, and return in how many seconds to ask again."""
        self._store.require_alive()
        try:
            status = master.round_status()
            while self._published < status.round - 1:
                manifest = parse_manifest(master.manifest(self._published + 1))
                if isinstance(manifest, RoundManifest):
                    self._display.published(published_facts(manifest))
                self._published += 1
        except (Unreachable, Problem):
            # It may be starting again; when it ends for good, its end is an event.
            return 5 * _FASTEST_LOOK
        self._progress.see_status(status, self._clock())
        return max(status.poll_after, _FASTEST_LOOK)
