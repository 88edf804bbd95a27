"""The faults that a test can declare, each in one line::

tree.expect(
    Killed("master", round=2, at=CrashPoint.HEAD_SWAPPED),
    OnTheWay(ReplyLost(), to="middle", round=3),
    S3Stopped(round=4, seconds=10),
)
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fedtier.crash_points import CrashPoint
from tests.relays import Loss
from tests.system.crashing import Order
from tests.system.federation import Aggregator
from tests.system.mishaps import Gathered
from tests.system.strangers import Stranger, put_update
from tests.system.tree import Fault, Tree
from tests.system.ways import Kind, Mishap

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Killed:
    """``kill -9`` of a program when it comes to a point of a round, or some seconds after the round began.

    With `skip`, a point is passed so many times first.
    """

    tier: str
    round: int
    at: CrashPoint | None = None
    after: float = 0.0
    skip: int = 0

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        keeper = tree.keepers[self.tier]
        if self.at is None:

            def kill() -> bool:
                last(self.after)
                return keeper.crash()

            return tree.during(self.round, kill)
        program, order = keeper.program, Order(self.at, self.round, skip=self.skip)
        program.orders.give([order])
        return lambda: not program.orders.withdrawn(order)


@dataclass(frozen=True, slots=True)
class ToldToStop:
    """SIGTERM to a program, as when it is replaced by a newer one."""

    tier: str
    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def stop() -> bool:
            process = tree.keepers[self.tier].program.process
            ran = process.runs
            with contextlib.suppress(ProcessLookupError):
                process.signal(signal.SIGTERM)
            return ran

        return tree.during(self.round, stop)


@dataclass(frozen=True, slots=True)
class ServingProcessKilled:
    """``kill -9`` of the process that serves alone: gunicorn starts another."""

    tier: str
    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        return tree.during(self.round, lambda: _signalled(tree.federation[self.tier], signal.SIGKILL))


@dataclass(frozen=True, slots=True)
class Frozen:
    """An aggregator does nothing for some seconds; connections to it stay open."""

    tier: str
    round: int
    seconds: float

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def freeze() -> bool:
            aggregator = tree.federation[self.tier]
            happened = _signalled(aggregator, signal.SIGSTOP)
            last(self.seconds)
            _signalled(aggregator, signal.SIGCONT)
            return happened

        return tree.during(self.round, freeze)


@dataclass(frozen=True, slots=True)
class OnTheWay:
    """Something happens to an upload on its way to a tier."""

    mishap: Mishap
    to: str
    round: int
    kind: Kind | None = None

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        way = tree.ways[self.to]
        expected = way.expect(self.mishap, kind=self.kind, round_number=self.round)
        return lambda: not way.forget(expected)


@dataclass(frozen=True, slots=True)
class Herd:
    """So many updates come at once, each of them twice."""

    to: str
    round: int
    size: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        way, gathered = tree.ways[self.to], Gathered(threading.Barrier(self.size))
        expected = [way.expect(gathered, kind="update", round_number=self.round) for _ in range(self.size)]
        return lambda: [way.forget(one) for one in expected].count(False) > 1


@dataclass(frozen=True, slots=True)
class WayCut:
    """All connections to a tier break, and none is made for some seconds."""

    to: str
    round: int
    seconds: float

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def cut() -> bool:
            way = tree.ways[self.to]
            way.cut()
            last(self.seconds)
            way.mend()
            return True

        return tree.during(self.round, cut)


@dataclass(frozen=True, slots=True)
class S3Stopped:
    """S3 is killed, and started again some seconds later."""

    round: int
    seconds: float

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def stop() -> bool:
            assert tree.s3 is not None, "the tree was made with an S3 server that can be stopped"
            ran = tree.s3.stop()
            last(self.seconds)
            tree.s3.start()
            return ran

        return tree.during(self.round, stop)


@dataclass(frozen=True, slots=True)
class S3Frozen:
    """S3 answers nothing for some seconds; connections to it stay open."""

    round: int
    seconds: float

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def freeze() -> bool:
            assert tree.s3 is not None, "the tree was made with an S3 server that can be stopped"
            ran = tree.s3.freeze()
            last(self.seconds)
            tree.s3.thaw()
            return ran

        return tree.during(self.round, freeze)


@dataclass(frozen=True, slots=True)
class S3ReplyLost:
    """S3 does what it is asked, and the master hears nothing."""

    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        way = tree.s3_way
        assert way is not None, "the tree was made with a way to S3 that loses replies"

        losses: list[Loss] = []

        def lose() -> bool:
            losses.append(way.lose_replies(b"PUT "))
            return True

        began = tree.during(self.round, lose)
        return lambda: began() and losses[0].left == 0


@dataclass(frozen=True, slots=True)
class Rival:
    """Somebody else sends another update as a client that takes part, with its token where there are tokens."""

    client_id: str
    to: str
    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def send() -> bool:
            body = tree.ledger.update_of_another(self.round, self.client_id)
            if body is None:
                return False
            guard = tree.federation.guard
            token = None if guard is None else guard.token("client", self.client_id)
            return put_update(tree.ways[self.to].url, self.round, self.client_id, body, token) is not None

        return tree.during(self.round, send)


@dataclass(frozen=True, slots=True)
class DiskFull:
    """There is no room in a state directory for some seconds; nothing happens where it lies on no disk of its own."""

    tier: str
    round: int
    seconds: float

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        disk = tree.disks.get(self.tier)
        if disk is None:
            return lambda: False

        def fill() -> bool:
            for _ in range(_TRIES):
                with contextlib.suppress(OSError, AssertionError):  # somebody else took or gave back some meanwhile
                    disk.fill()
                    break
            was_full = disk.free_bytes == 0
            last(self.seconds)
            disk.free()
            return was_full

        return tree.during(self.round, fill)


@dataclass(frozen=True, slots=True)
class DiskLost:
    """The master is killed, and its state directory is empty when it comes back."""

    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def lose() -> bool:
            return tree.keepers["master"].crash(before_start=tree.federation["master"].lose_disk)

        return tree.during(self.round, lose)


@dataclass(frozen=True, slots=True)
class SecondMaster:
    """Another master is started on the same key by mistake, claims the round, and is killed."""

    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def start_another() -> bool:
            other = tree.federation.another_master(f"other-{self.round}")
            try:
                other.start(port=0)
            except (AssertionError, OSError):  # S3 is away, or the other one moves faster
                return False
            finally:
                other.end()
            return True

        return tree.during(self.round, start_another)


def kind_of(fault: Fault) -> str:
    """Return what kind of fault it is, in words."""
    match fault:
        case Killed(tier, at=at):
            who = "master" if tier == "master" else "client" if tier.startswith("client") else "worker"
            return f"kill -9 of a {who} at {'any time' if at is None else 'a crash point'}"
        case OnTheWay(mishap):
            return f"upload: {_words(mishap)}"
        case Stranger(shows):
            return f"stranger with {shows}"
    return _words(fault)


def _words(fault: Fault | Mishap) -> str:
    return re.sub("(?<!^)(?=[A-Z])", " ", type(fault).__name__).lower()


def last(seconds: float) -> None:
    """Let a fault last."""
    threading.Event().wait(seconds)


def _signalled(aggregator: Aggregator, number: signal.Signals) -> bool:
    with _gone_or_not():
        os.kill(aggregator.serving_pid, number)
        return True
    return False


@contextlib.contextmanager
def _gone_or_not() -> Iterator[None]:
    """Go on where the process has ended, or has not begun to serve."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
        yield
