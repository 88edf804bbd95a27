"""A federation whose ways can be disturbed and whose programs are started again when they end."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

import requests

from fedtier.rounds import RoundManifest
from tests.relays import Relay
from tests.system.disks import SmallDisk
from tests.system.federation import PATIENCE, Aggregator, Federation, Program
from tests.system.keepers import Keeper
from tests.system.lasting_s3 import LastingS3
from tests.system.ledger import Ledger
from tests.system.ways import Way

_POLL: Final = 0.02
_Answer = TypeVar("_Answer")


class Fault(Protocol):
    """Something that goes wrong, once, in one round; `str` of it is a line to read."""

    @property
    def round(self) -> int: ...

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        """See to it that it happens; return what tells whether it did, and keeps it from happening any more."""
        ...


class Tree:
    """Master, workers in any depth, a load balancer before some of them, and clients.

    Parameters
    ----------
    federation : Federation
    folder : Path
        For what is kept of updates.
    s3 : LastingS3, optional
        Where the federation's S3 server may be stopped.
    s3_way : Relay, optional
        On which its replies may be lost.
    disks : Mapping of str to SmallDisk, optional
        On which aggregators of these names have their state directories.
    seed : str
        Of the load balancer's choices.
    """

    def __init__(
        self,
        federation: Federation,
        folder: Path,
        *,
        s3: LastingS3 | None = None,
        s3_way: Relay | None = None,
        disks: Mapping[str, SmallDisk] | None = None,
        seed: str = "",
    ) -> None:
        self.federation = federation
        self.s3 = s3
        self.s3_way = s3_way
        self.disks = disks or {}
        self.ledger = Ledger(folder, self._round_begins)
        self.ways: dict[str, Way] = {}
        self.keepers: dict[str, Keeper] = {}
        self._rng = random.Random(seed)
        self._at_round: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self._begun = 0
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, Callable[[], bool]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self.keepers.values():
            keeper.leave()
        for way in self.ways.values():
            way.close()

    # What it is made of.

    def master(self, model: Path, *flags: str) -> None:
        self._keep(self.federation.master(model, *flags), self._take_over_in_turn)

    def worker(self, name: str, *flags: str, upstream: str) -> None:
        self._keep(self.federation.worker(name, *flags, upstream=self.ways[upstream].url))

    def entrance(self, name: str, workers: Sequence[str]) -> None:
        """Put a load balancer before workers."""

        def chosen() -> tuple[str, int]:
            worker = self.federation[self._rng.choice(workers)]
            return worker.host, worker.port

        self._open_way(name, chosen)

    def client(self, client_id: str, *flags: str, entrance: str, variables: Mapping[str, str] | None = None) -> None:
        client = self.federation.lasting_client(client_id, *flags, server=self.ways[entrance].url, variables=variables)
        client.start()
        self._look_after(client)

    def _keep(self, aggregator: Aggregator, refused: Callable[[str], None] = lambda _: None) -> None:
        self._open_way(aggregator.name, lambda: (aggregator.host, aggregator.port))
        self._look_after(aggregator, refused)

    def _open_way(self, name: str, target: Callable[[], tuple[str, int]]) -> None:
        self.ways[name] = Way(self.federation.host, target, self.ledger)

    def _look_after(self, program: Program, refused: Callable[[str], None] = lambda _: None) -> None:
        self.keepers[program.name] = Keeper(program, refused)
        self.keepers[program.name].start()

    def _take_over_in_turn(self, log_end: str) -> None:
        """Do what a master asks for that finds its attempt taken by another one."""
        if "another master has taken over" in log_end:
            self.federation["master"].lose_disk()

    # How far it is.

    def open_round(self) -> int:
        """Return the number of the round that is open, once one is, the master is ready and the workers know."""
        master = self.federation["master"]
        number = self._once(
            lambda: master.status() if master.is_ready() else None, lambda s: s.state == "collecting"
        ).round
        for name, keeper in self.keepers.items():
            if isinstance(keeper.program, Aggregator):
                self._once(self.federation[name].status, lambda status: status.round >= number)
        return number

    def published(self, round_number: int) -> RoundManifest:
        """Return a round's manifest, once it is published."""
        master = self.federation["master"]
        self._once(master.status, lambda status: status.round > round_number)
        return self._once(lambda: master.published(round_number), lambda _: True)

    def _once(self, ask: Callable[[], _Answer | None], is_right: Callable[[_Answer], bool]) -> _Answer:
        """Return the first answer that is right; nobody may answer meanwhile."""
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException, AssertionError):
                answer = ask()
                if answer is not None and is_right(answer):
                    return answer
            threading.Event().wait(_POLL)
        raise AssertionError(f"waited too long\n{self.log_ends()}")

    def log_ends(self) -> str:
        return "\n".join(keeper.program.process.log_end() for keeper in self.keepers.values())

    # What goes wrong in it.

    def expect(self, *faults: Fault) -> None:
        """See to it that faults happen."""
        for fault in faults:
            self._faults.append((fault, fault.prepare(self)))

    def happened(self, *, up_to: int | None = None) -> list[Fault]:
        """Return the faults that did happen since the last call; the others do not happen any more.

        Parameters
        ----------
        up_to : int, optional
            Look at the faults of rounds up to this one only.
        """
        over = [item for item in self._faults if up_to is None or item[0].round <= up_to]
        self._faults = [item for item in self._faults if item not in over]
        return [fault for fault, did_happen in over if did_happen()]

    def during(self, round_number: int, deed: Callable[[], bool]) -> Callable[[], bool]:
        """Do something when a round begins, at once where it has; it returns whether it could be done.

        What this returns waits for the end of it, or keeps it from beginning.
        """
        done: Future[bool] = Future()

        def do() -> None:
            try:
                done.set_result(deed())
            except BaseException as error:
                done.set_exception(error)

        def begin() -> None:
            # Said before the thread runs: whoever knows that the round began finds it begun, however busy the machine.
            if done.set_running_or_notify_cancel():
                threading.Thread(target=do, name="fault", daemon=True).start()

        with self._lock:
            begun = round_number <= self._begun
            if not begun:
                self._at_round[round_number].append(begin)
        if begun:
            begin()
        return lambda: not done.cancel() and done.result()

    def _round_begins(self, round_number: int) -> None:
        with self._lock:
            self._begun = max(self._begun, round_number)
            due = [it for number in list(self._at_round) if number <= round_number for it in self._at_round.pop(number)]
        for begin in due:
            begin()
