"""A whole federation: clients, two edge workers under a third, S3, and the master, or two of them by mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from hypothesis import note

from fedtier.problems import Problem
from fedtier.rounds import RoundStatus
from tests.model_checking.bucket import SimulatedBucket
from tests.model_checking.claims import ALONE, ANSWERED, CLOSES, NOTHING_LEFT, Claims
from tests.model_checking.client import Client
from tests.model_checking.master import Master, MasterProcess, RecorderThread
from tests.model_checking.network import Network, Request, Server, Step
from tests.model_checking.serving import Serving
from tests.model_checking.surroundings import Surroundings, rules_of
from tests.model_checking.worker import Worker, WorkerProcess
from tests.model_checking.worker_threads import Disk

CLIENTS: Final = "abcde"
SWEEPS: Final = 200
"""So many times everybody does what can be done, and a round is published."""


class Part(Protocol):
    """Something that acts by itself."""

    def steps(self) -> Iterable[Step]:
        """Return what it may do next."""
        ...


class Route:
    """The address of the master, at which another one may be put."""

    def __init__(self, masters: list[Master]) -> None:
        self.master = masters[0]

    def receive(self, request: Request) -> None:
        self.master.receive(request)

    def status(self) -> RoundStatus | Problem | None:
        return self.master.status()


class Tree:
    """Everything that there is, and what may happen next."""

    def __init__(self, threshold: int) -> None:
        claims = Claims()
        self.network = Network()
        self.bucket = SimulatedBucket(claims)
        self.around = Surroundings(self.network, claims, self.bucket, rules_of(threshold))
        self.masters = [Master("master", self.around), Master("second master", self.around)]
        self.masters[0].wanted = True
        self.has_two_masters = False
        self.route = Route(self.masters)
        self.middle = Worker("middle", self.route, self.around, batch_max=4)
        self.edges = [Worker(name, self.middle, self.around, batch_max=2) for name in ("left edge", "right edge")]
        self.workers = [*self.edges, self.middle]
        # Any tier takes updates; most of them go to the edges.
        servers: tuple[Server, ...] = (*self.edges, *self.edges, self.middle, self.route)
        self.clients = [Client(name, servers, first, self.around) for first, name in enumerate(CLIENTS)]

    def steps(self) -> list[Step]:
        """Return everything that may happen next."""
        parts: tuple[Part, ...] = (*self.clients, self.network, *self.workers, *self.masters, self.bucket)
        return [step for part in parts for step in part.steps()]

    def run(self, schedule: Iterable[int]) -> None:
        """Let happen one thing after the other, whichever the schedule picks of those that may."""
        for choice in schedule:
            if steps := self.steps():
                _do(steps[choice % len(steps)])

    def sweep(self) -> None:
        """Let happen, one after the other, all that may now; then some time passes."""
        for name, _ in self.steps():
            step = dict(self.steps()).get(name)
            if step is not None:
                _do((name, step))
        self.pass_time(0.3)

    def pass_time(self, seconds: float) -> None:
        self.around.seconds += seconds
        for worker in self.workers:
            if worker.process is not None:
                worker.process.keep_time()

    def settle(self) -> None:
        """Let all faults end: the open round is published, everybody hears of it, and nothing is left."""
        self._end_faults()
        last = self.bucket.head.round + 1
        self.around.rules = replace(self.around.rules, final_round=last)
        self._sweep_until(lambda: self.bucket.head.round >= last)
        assert self.bucket.head.round >= last, f"{CLOSES}: {last} is not"
        self._sweep_until(lambda: all(client.stopped for client in self.clients))
        for client in self.clients:
            assert client.ended_well, f"{ANSWERED}: {client.client_id} {client.stopped}"
        self._sweep_until(lambda: self.empty)
        assert self.empty, NOTHING_LEFT

    @property
    def empty(self) -> bool:
        """Whether nothing is under way, and no process holds anything of anybody."""
        return self.network.empty and all(process.empty for process in self._processes)

    @property
    def servings(self) -> list[Serving]:
        """The HTTP sides of all processes that take uploads."""
        return [process.serving for process in self._processes]

    @property
    def disks(self) -> list[Disk | RecorderThread]:
        """Whatever writes, and may find no room."""
        workers: list[Disk | RecorderThread] = [w.process.disk for w in self.workers if w.process is not None]
        return [*workers, *(m.process.recorder for m in self.masters if m.process is not None)]

    @property
    def _processes(self) -> list[WorkerProcess | MasterProcess]:
        hosts: tuple[Worker | Master, ...] = (*self.workers, *self.masters)
        return [host.process for host in hosts if host.process is not None]

    def route_to_the_other_master(self) -> None:
        """Start a second master, if there is none, at the address of the first; or the other way round."""
        other = self.masters[self.route.master is self.masters[0]]
        if not self.has_two_masters:
            other.wanted = self.has_two_masters = True
        self.route.master = other

    def _sweep_until(self, done: Callable[[], bool]) -> None:
        for _ in range(SWEEPS):
            if done():
                return
            self.sweep()
            self._have_a_master()

    def _end_faults(self) -> None:
        self.bucket.fault = None
        for disk in self.disks:
            disk.fails_next = False
        self._leave_one_master()

    def _leave_one_master(self) -> None:
        """Do as the operator of two: the one whose journal is of the open round goes on; any other is stopped."""
        if not self.has_two_masters:
            return
        one = next((master for master in self.masters if master.is_of(self.bucket.head)), None)
        for master in self.masters:
            if master is not one:
                master.wanted = False
                master.die()
        self.route.master = one or self.masters[0]
        self.route.master.wanted = True

    def _have_a_master(self) -> None:
        """Do as a master says that finds another attempt than its own: give it an empty disk."""
        master = self.route.master
        if not master.wanted:
            assert self.has_two_masters, f"{ALONE}: {master.name}"
            master.workshop.wipe()
            master.wanted = True


def _do(step: Step) -> None:
    name, act = step
    note(f"  {name}")
    act()
