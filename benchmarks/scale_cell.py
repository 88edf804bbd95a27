"""One cell of a scale benchmark: servers, clients, and what the measurements have in common."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.load import Crowd
from benchmarks.load_connection import Answer, Wanted
from benchmarks.processes import Watched
from benchmarks.scale_clients import Clients, prepared
from benchmarks.scale_tiers import Tiers, Tree, running
from fedtier_cli.local_keys import local_keys
from fedtier_cli.rundir import RunDirectory

Figures: TypeAlias = dict[str, Any]
"""A flat object: what a cell is, and what was measured of it."""
CONNECTIONS: Final = 1000
"""Kept connections at most; beyond it clients share them, as behind a load balancer."""
_LOOK_SECONDS: Final = 0.02


@dataclass(slots=True)
class Uploaded:
    """What came of some uploads.

    Parameters
    ----------
    began, ended : float
        First byte of the first, last byte of the last answer; seconds of `time.monotonic`.
    seconds : list of float
        Of each, from its first byte to its last answer, whatever was tried again included.
    repeats : int
        Uploads that were asked to come again.
    """

    began: float = float("inf")
    ended: float = 0.0
    seconds: list[float] = field(default_factory=list)
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """Everything that one measurement is made with.

    Parameters
    ----------
    tiers : Tiers
        Running.
    clients : Clients
    crowd : Crowd
        Plays them.
    memory : Watched
        Watches the tiers.
    """

    tiers: Tiers
    clients: Clients
    crowd: Crowd
    memory: Watched

    def ask(self, path: str, client: int = 0) -> Answer:
        """Return the answer to one request.

        Raises
        ------
        SystemExit
            It is a refusal.
        """
        answers: list[Answer] = []
        self.crowd.run([self.clients.get(client, path)], answers.append, concurrent=1)
        if answers[0].status != 200:
            raise SystemExit(f"{path}: {answers[0].status} {answers[0].body[:300]!r}")
        return answers[0]

    def await_round(self, number: int) -> Mapping[str, Any]:
        """Return the round's document once the round is open for who asks a worker."""
        found: list[Mapping[str, Any]] = []

        def see(answer: Answer) -> Wanted | None:
            status = json.loads(answer.body)
            if answer.status == 200 and status["round"] >= number:
                found.append(status)
                return None
            return self.clients.get(0, "/v1/round", at=answer.ended + _LOOK_SECONDS)

        self.crowd.run([self.clients.get(0, "/v1/round")], see, concurrent=1)
        return found[0]

    def await_exact(self, number: int) -> None:
        """Return once a round of all clients is published.

        Raises
        ------
        SystemExit
            Its model is not the one that was computed from the definition.
        """
        base = self.await_round(number + 1)["base"]
        if base["sha256"] != self.clients.sha256:
            raise SystemExit(f"round {number} is {base['sha256']}, and by the definition {self.clients.sha256}")

    def upload(self, number: int, clients: Iterable[int], *, concurrent: int) -> Uploaded:
        """Upload updates until all are counted.

        Raises
        ------
        SystemExit
            One was refused for good.
        """
        uploaded, first = Uploaded(), dict[int, float]()

        def see(answer: Answer) -> Wanted | None:
            began = first.setdefault(answer.wanted.client, answer.began)
            uploaded.began = min(uploaded.began, began)
            if answer.status == 200:
                uploaded.ended = answer.ended
                uploaded.seconds.append(answer.ended - began)
                return None
            problem = json.loads(answer.body)
            if answer.status not in {429, 503} and not problem["type"].endswith(":round-not-open"):
                raise SystemExit(f"an update was refused: {problem}")
            uploaded.repeats += 1
            after = float(answer.header("Retry-After") or 0.1)
            return Wanted(answer.wanted.client, answer.wanted.head, answer.wanted.body, answer.ended + after)

        self.crowd.run([self.clients.update(client, number) for client in clients], see, concurrent=concurrent)
        return uploaded

    def peaks(self) -> Figures:
        """Return the largest PSS of each tier, in MB of 10**6 bytes."""
        return {f"{tier}_pss_megabytes": round(self.memory.peak(tier) / 1e6, 1) for tier in self.tiers.pids}


@contextmanager
def cell(tree: Tree, clients: int, megabytes: float, *, connections: int = CONNECTIONS) -> Iterator[Cell]:
    """Start servers, and prepare as many clients as close a round."""
    with tempfile.TemporaryDirectory(prefix="fedtier-scale-") as folder:
        run = RunDirectory(Path(folder))
        keys = local_keys(run, datetime.now(UTC))
        with (
            prepared(run.path, keys, clients, megabytes) as ready,
            running(run, keys, tree, clients, ready.initial) as tiers,
            Crowd("127.0.0.1", tiers.port, min(clients, connections)) as crowd,
            Watched(tiers.pids) as memory,
        ):
            yield Cell(tiers, ready, crowd, memory)


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU seconds that each tier used between two looks."""
    return {tier: after[tier] - before[tier] for tier in after}


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a value that so many percent of the others do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
