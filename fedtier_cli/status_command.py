"""``fedtier status``: the open round, once or until the federation is finished."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fedtier.flags import command, json_flag
from fedtier.problems import Forbidden, Problem, StartupError, Unauthenticated, Unavailable
from fedtier.rounds import Manifest, parse_manifest
from fedtier.tls import Tls
from fedtier.upstream import Timeouts, Unreachable, Upstream
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.processes import as_json_line
from fedtier_cli.screen import screen
from fedtier_cli.servers import Server, asked, chosen_server, refusal, server_flags
from fedtier_cli.situation import Situation, situation_line, situation_table
from fedtier_cli.watching import every_flag

STUCK: Final = 3
"""Exit status where the round cannot get on."""
_TIMEOUTS: Final = Timeouts(connect=5.0, read=15.0)


@command("status")
@server_flags
@click.option("--watch", is_flag=True, help="Go on until the federation is finished, or Ctrl-C.")
@every_flag
@json_flag
def status(server: str | None, run_dir: Path | None, tls: Tls, watch: bool, every: float, as_json: bool) -> None:
    """Show the open round, and how far it is.

    Asks a master, or a worker, which says what it heard last. With --watch the picture is drawn anew on a terminal;
    elsewhere a line is printed whenever something changed, with --json a JSON object. A server that is away is waited
    for, and may ask for longer pauses than --every.

    Ends with status 0 when the round can get on or the federation is finished, 1 when nobody answers, 2 for wrong
    flags, 3 when the round cannot get on as things are (paused, not ready, more clients needed than selected),
    130 by Ctrl-C.
    """
    chosen = chosen_server(server, run_dir, tls=tls)
    if watch:
        with ended_by_signals("the watching"), _watcher(as_json) as watcher:
            _watch(chosen, every, watcher)
        return
    with ended_by_signals("the reading"), asked(chosen) as upstream:
        situation = Observer(upstream, _now).look()
    if as_json:
        print(as_json_line(situation.document()))
    else:
        screen().print(situation_table(situation))
    sys.exit(0 if situation.obstacle is None else STUCK)


class Observer:
    """Looks at a federation through one of its servers.

    Parameters
    ----------
    upstream : Upstream
    clock : callable
        Returns the time, with its zone.
    """

    def __init__(self, upstream: Upstream, clock: Callable[[], datetime]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._newest: Manifest | None = None

    def look(self) -> Situation:
        """Return how the open round stands.

        Raises
        ------
        Unreachable, Problem
        """
        status = self._upstream.round_status()
        if self._newest is None or self._newest.round != status.base.round:
            self._newest = self._manifest(status.base.round)
        return Situation(self._upstream.url, status, self._upstream.unready(), self._newest, self._clock())

    def _manifest(self, round_number: int) -> Manifest | None:
        try:
            return parse_manifest(self._upstream.manifest(round_number))
        except (Unauthenticated, Forbidden):
            raise
        except Problem:
            return None  # S3 is away from the master: the open round is known all the same


class _Watcher(Protocol):
    """How a person or a program is told."""

    def see(self, situation: Situation) -> None:
        """Tell how the round stands."""
        ...

    def away(self, reason: str) -> None:
        """Tell that nobody answers."""
        ...


class _Changes:
    """Prints only what is another than before: lines, or JSON objects."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._last: tuple[object, ...] | None = None

    def see(self, situation: Situation) -> None:
        if situation.changing != self._last:
            self._last = situation.changing
            self._print(situation_line(situation), situation.document())

    def away(self, reason: str) -> None:
        if self._last != (reason,):
            self._last = (reason,)
            self._print(f"{reason}; asking again", {"away": reason})

    def _print(self, line: str, document: Mapping[str, Any]) -> None:
        if self._console is None:
            print(as_json_line(document), flush=True)
        else:
            self._console.print(Text(line))
            self._console.file.flush()


class _Picture:
    """Draws the newest situation anew."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._seen: Situation | None = None

    def see(self, situation: Situation) -> None:
        self._seen = situation
        self._live.update(situation_table(situation), refresh=True)

    def away(self, reason: str) -> None:
        before = [] if self._seen is None else [situation_table(self._seen)]
        self._live.update(Group(*before, Text(f"{reason}; asking again", style="yellow")), refresh=True)


@contextmanager
def _watcher(as_json: bool) -> Iterator[_Watcher]:
    console = screen()
    if as_json or not console.is_terminal:
        yield _Changes(None if as_json else console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Picture(live)


def _watch(server: Server, every: float, watcher: _Watcher) -> None:
    """Look until the federation is finished."""
    with Upstream(server.url, token=server.source(), tls=server.tls, timeouts=_TIMEOUTS) as upstream:
        observer = Observer(upstream, _now)
        while True:
            pause = every
            try:
                situation = observer.look()
            except Unreachable as error:
                watcher.away(str(error))
            except Unavailable as problem:
                watcher.away(problem.detail)
                pause = max(every, problem.retry_after or 0)
            except Problem as problem:
                raise StartupError(refusal(server, problem, "client")) from None
            else:
                watcher.see(situation)
                if situation.status.state == "finished":
                    return
                pause = max(every, situation.status.poll_after)
            threading.Event().wait(pause)


def _now() -> datetime:
    return datetime.now(UTC)
