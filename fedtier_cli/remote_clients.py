"""The clients of a run on other hosts: listened to through the journals there, also when a host was away."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fedtier_cli.deploying.site import Host
from fedtier_cli.display import Display
from fedtier_cli.processes import Child, Children, Ended, Event, Fact, status_in_words
from fedtier_cli.progress import named
from fedtier_cli.remote_journal import Journal
from fedtier_cli.run_clients import Clients

JOURNAL: Final = "journal"
"""The program by which the processes that listen are ended."""
# Who that is there, the user's own settings of ssh may say; and where root logs in, there may be no sudo.
_AS_ROOT: Final = 'if [ "$(id -u)" = 0 ]; then exec "$@"; fi; exec sudo -n "$@"'
_CONNECT_SECONDS: Final = 60.0
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 10.0
_LAST_WORDS: Final = 60.0
"""Seconds, after the last round is published, in which clients may say that they have finished."""


@dataclass(slots=True)
class _Ear:
    """How one host is listened to."""

    host: Host
    journal: Journal
    child: Child | None = None
    hears: bool = False
    was_heard: bool = False
    pause: float = _SHORTEST_PAUSE
    again_at: float = 0.0


class RemoteClients(Clients):
    """Clients as units of other hosts, which come back by themselves when their host does.

    Parameters
    ----------
    names : sequence of str
    hosts : sequence of Host
        On which they run.
    children : Children
    last_round : int
        After which they end.
    end : callable
        Ends them all.
    clock : callable
        Monotonic seconds.
    display : Display
    """

    def __init__(
        self,
        names: Sequence[str],
        hosts: Sequence[Host],
        children: Children,
        *,
        last_round: int,
        end: Callable[[], None],
        clock: Callable[[], float],
        display: Display,
    ) -> None:
        super().__init__(names)
        self._children = children
        self._ears = [_Ear(host, Journal(host.client_ids)) for host in hosts if host.client_ids]
        self._last_round = last_round
        self._end = end
        self._clock = clock
        self._display = display
        self._going_on = set(self.names)
        self._over_at: float | None = None

    def listen(self) -> None:
        """Listen to all hosts; returns when nothing that is said from now on is missed.

        Raises
        ------
        RunFailed
            A host cannot be listened to.
        """
        for ear in self._ears:
            self._connect(ear)
        deadline = self._clock() + _CONNECT_SECONDS
        while deaf := [ear for ear in self._ears if not ear.was_heard]:
            event = self._children.next_event(deadline - self._clock())
            if event is None:
                assert deaf[0].child is not None, "one that ended before it was heard has failed the run"
                raise deaf[0].child.failure(f"was not heard within {_CONNECT_SECONDS:g} s")
            self.takes(event)

    @property
    def is_running(self) -> bool:
        """Whether any client has not finished; in the end those of hosts that are away are not waited for."""
        if self._over_at is None:
            return bool(self._going_on)
        heard = {client for ear in self._ears if ear.hears for client in ear.host.client_ids}
        return bool(self._going_on & heard)

    def takes(self, event: Event) -> bool:
        """Take note of what is heard; a client that fails fails the run, and a host that is away is waited for."""
        ear = next((ear for ear in self._ears if ear.child is event.child), None)
        if ear is None:
            # Of a connection before the present one nothing is left to be known.
            return event.child.program == JOURNAL
        match event:
            case Fact(_, {"event": "following"}):
                self._hear(ear)
            case Fact(child, members):
                self._see(ear.host, child, members)
            case Ended(child, status):
                self._lose(ear, child, status)
        return True

    def tend(self, now: float, published: int) -> None:
        """Listen again to hosts that were away."""
        for ear in self._ears:
            if ear.child is None and now >= ear.again_at:
                self._connect(ear)
        if published >= self._last_round and self._over_at is None:
            self._over_at = now
        if self._over_at is not None and self._going_on and now >= self._over_at + _LAST_WORDS:
            silent = named(sorted(self._going_on))
            self._display.note(f"the last round is published, and nothing was heard of the end of {silent}")
            self._going_on.clear()

    def stop(self) -> None:
        """End the clients; their hosts are listened to further."""
        self._end()

    def having(self, wanted: int) -> str:
        """Return what an operator may do."""
        return (
            f"have {wanted} clients in the inventory until it is published, or close it with what is counted, by "
            "fedtier close"
        )

    @property
    def having_others(self) -> str:
        """Where they would have to be."""
        return (
            "have them in the inventory again until it is published, or close it with what is counted, by fedtier close"
        )

    def _connect(self, ear: _Ear) -> None:
        words = ear.journal.connect()
        call = ear.host.ssh_command(*as_root(words))
        ear.child = self._children.start_program(ear.host.name, JOURNAL, call, ear.journal.read)
        if not ear.was_heard:
            self._display.started(ear.host.name, ear.child.process.pid)

    def _hear(self, ear: _Ear) -> None:
        if ear.was_heard and not ear.hears:
            self._display.note(f"{ear.host.name} is back")
        ear.hears = ear.was_heard = True
        ear.pause = _SHORTEST_PAUSE

    def _lose(self, ear: _Ear, child: Child, status: int) -> None:
        if not ear.was_heard:
            raise child.failure(
                f"cannot be reached: ssh ended {status_in_words(status)}. Check its ansible_host, ansible_user and "
                "--key_path; infra/ansible/ping.sh tries all hosts"
            )
        ear.child = None
        ear.again_at = self._clock() + ear.pause
        if status == 0:
            # A system that is short of inotify watches prints what there is, and no more: it is asked again and again.
            return
        if ear.hears:
            clients = named(ear.host.client_ids)
            self._display.note(f"{ear.host.name} with {clients} is away; the run goes on when it is back")
        ear.hears = False
        ear.pause = min(2 * ear.pause, _LONGEST_PAUSE)

    def _see(self, host: Host, child: Child, members: Mapping[str, Any]) -> None:
        client = str(members["client_id"])
        match members:
            case {"event": "finished", "ok": False}:
                raise child.failure(f"plays {client}, which stopped: {members.get('detail')}")
            case {"event": "finished", "round": int(number)} if number >= self._last_round:
                self._going_on.discard(client)
            case {"event": "exited", "code": "exited", "status": status}:
                raise child.failure(f"plays {client}, which ended with status {status}")
            case {"event": "exited", "status": status}:
                self._display.note(f"{client} on {host.name} was ended by {_signal(status)} and is started again there")
            case _:
                pass


def as_root(words: Sequence[str]) -> list[str]:
    """Return a command as one that may read every unit's journal; whoever is no root there may become it."""
    return ["sh", "-c", _AS_ROOT, "sh", *words]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
