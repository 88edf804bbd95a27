"""Runs a program of fedtier that dies, or stands still, at crash points that a test chose.

``python -m tests.system.crashing ORDERS master --port 0 ...`` is ``fedtier master --port 0 ...``, but for an audit
hook that reads the orders whenever a crash point is reached. They may be given while the program runs. It counts its
syncs beside that file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

from fedtier.crash_points import EVENT, CrashPoint
from fedtier_cli.main import main as fedtier
from tests.system.costs.syncs import count_syncs

POOLED: Final = "ThreadPoolExecutor"
"""How the names of a pool's threads begin; the kernel shows the first fifteen letters."""
Deed: TypeAlias = Literal["die", "stand still"]


@dataclass(frozen=True, slots=True)
class Order:
    """Do it at a point, once.

    Parameters
    ----------
    point : CrashPoint
    round : int or None
        None is any round.
    deed : {"die", "stand still"}
        Killed with all that belongs to it, as by ``kill -9``; or stopped, until a signal lets it go on.
    skip : int
        Times that the point is passed first; counted down in the file.
    """

    point: CrashPoint
    round: int | None = None
    deed: Deed = "die"
    skip: int = field(default=0, compare=False)


class Orders:
    """A file of orders; an order disappears from it when it is carried out, before it is carried out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(self, orders: Sequence[Order]) -> None:
        """Add orders."""
        with self._held() as file:
            _write(file, [*_read(file), *orders])

    def withdrawn(self, order: Order) -> bool:
        """Take an order back; return False where it was carried out."""
        with self._held() as file:
            orders = _read(file)
            if order not in orders:
                return False
            orders.remove(order)
            _write(file, orders)
            return True

    def taken_for(self, point: str, round_number: int) -> Order | None:
        """Return the order for a point that is reached, and strike it out."""
        if not self._path.exists():
            return None
        with self._held() as file:
            orders = _read(file)
            for number, order in enumerate(orders):
                if order.point == point and order.round in (None, round_number):
                    orders[number : number + 1] = [replace(order, skip=order.skip - 1)] if order.skip else []
                    _write(file, orders)
                    return None if order.skip else order
        return None

    @contextlib.contextmanager
    def _held(self) -> Iterator[IO[str]]:
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _read(file: IO[str]) -> list[Order]:
    file.seek(0)
    return [Order(**{**o, "point": CrashPoint(o["point"])}) for o in json.loads(file.read() or "[]")]


def _write(file: IO[str], orders: Sequence[Order]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps([asdict(order) for order in orders]))
    file.flush()


def obey(orders: Orders) -> None:
    """Have this process, and those it forks, carry out orders at the crash points that they reach."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != EVENT:
            return
        order = orders.taken_for(*arguments)
        if order is not None and order.deed == "die":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        elif order is not None:
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(hook)


def show_names() -> None:
    """Have the kernel show what threads are called, so that those of a pool can be told from others."""
    thread_class: Any = threading.Thread
    begin = thread_class._bootstrap_inner  # not `run`, which a timer has of its own: it would be called as its maker

    def begin_named(thread: threading.Thread) -> None:
        if sys.platform == "linux":
            Path("/proc/thread-self/comm").write_text(thread.name)
        begin(thread)

    thread_class._bootstrap_inner = begin_named


def syncs_beside(orders: Path) -> Path:
    """Return where a program that obeys the orders in a file counts its syncs."""
    return orders.with_suffix(".syncs")


def main() -> None:
    orders = Path(sys.argv.pop(1))
    show_names()
    obey(Orders(orders))
    count_syncs(syncs_beside(orders))
    fedtier()


if __name__ == "__main__":
    main()
