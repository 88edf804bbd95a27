"""Rounds through real tiers, without training: how long they take, and what each tier needs for them.

``python -m benchmarks.round [--clients 8] [--megabytes 64] [--workers 1] [--rounds 3] [--repeats 1] [--json]``

S3, master, workers and clients are processes of ``fedtier`` over loopback, as users start them. Before each round all
clients wait with their updates ready; seconds count from the moment at which they are let go:

- "commit": until S3's head names the round;
- "held": until every client holds the round's model, its digest verified, and enters its next training.

Looks at the head cost S3 and this process some of what is measured, so they are taken in every other round, and "held",
like CPU, is that of the rounds without.

The first round warms up and is not counted. Every round's SHA-256 is checked against `benchmarks.reference_sum`; a
difference ends this with status 1. Memory is seen from outside: see `benchmarks.processes`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.ending import end_when_told
from benchmarks.federation import HeadWatch, Plan, Played, played
from benchmarks.machine import filesystem_of, loopback_gigabytes_per_second, this_machine
from benchmarks.measured import AGGREGATORS, SERVERS, Measured, Round, Run, summary
from benchmarks.processes import OFTEN, SELDOM, Watched, cpu_seconds, high_water_bytes
from benchmarks.reference_sum import UPLOAD_DTYPES, published_sha256
from benchmarks.updates import LONGEST_RUN, SEED, Outline
from fedtier.rounds import RoundManifest
from fedtier_cli.rundir import RunDirectory

_FOLDERS: Final = {"disk": Path(tempfile.gettempdir()), "memory": Path("/dev/shm")}
_LEAST_PATIENCE, _SECONDS_PER_GIGABYTE = 180.0, 60.0
_LOOKS: Final = 0.005, 0.02
"""Seconds between two looks at S3's head: for models below and from 10 MB."""
_MEMORY_LOOKS: Final = {"never": None, "seldom": SELDOM, "often": OFTEN}
"""Shares of a core for looking at the servers' memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    flags = parser()
    options = flags.parse_args(arguments)
    options.concurrent = min(options.concurrent or options.clients, options.clients)
    if min(options.clients, options.concurrent, options.workers, options.rounds, options.repeats) < 1:
        flags.error("one client, worker, round and repeat at least")
    in_turns = options.concurrent < options.clients
    if options.head == "every other" and (in_turns or options.rounds == 1):
        options.head = "always"
    if options.rounds >= LONGEST_RUN or options.megabytes <= 0:
        flags.error(f"rounds are below {LONGEST_RUN}, and megabytes are more than 0")
    measured = measure(options)
    text = json.dumps(asdict(measured), indent=1)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    print(text if options.json else summary(measured))
    if measured.exact:
        return 0
    print("a round's model is not the one that the definition gives", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """Return what it may be asked."""
    flags = argparse.ArgumentParser(description="Seconds, CPU and memory of rounds through real tiers.")
    flags.add_argument("--clients", type=int, default=8, help="updates per round (default 8)")
    flags.add_argument("--megabytes", type=float, default=64, help="float32 in a model, in 10**6 bytes (default 64)")
    flags.add_argument("--concurrent", type=int, help="client processes; fewer than clients: they take turns")
    flags.add_argument("--workers", type=int, default=1, help="worker aggregators on one port (default 1)")
    flags.add_argument("--rounds", type=int, default=3, help="rounds that count, after one that warms up (default 3)")
    flags.add_argument("--repeats", type=int, default=1, help="federations, one after the other (default 1)")
    flags.add_argument("--upload-dtype", choices=UPLOAD_DTYPES, default="float32", help="what clients send")
    flags.add_argument(
        "--state",
        choices=tuple(_FOLDERS),
        default="disk",
        help="where all state lies, of servers, S3 and clients; in memory (/dev/shm) fsync does nothing (default disk)",
    )
    flags.add_argument(
        "--head",
        choices=("every other", "always", "never"),
        default="every other",
        help="in which rounds S3's head is looked at (default every other; where clients take turns, always)",
    )
    flags.add_argument(
        "--memory-looks",
        choices=_MEMORY_LOOKS,
        default="seldom",
        help="at the servers, during rounds: not at all, for a fiftieth of a core (default), up to 20 per second",
    )
    flags.add_argument("--folder", type=Path, help="another folder for it (default: see --state)")
    flags.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add_argument("--out", type=Path, help="write that JSON to a file, too")
    return flags


def measure(options: argparse.Namespace) -> Measured:
    """Play all repeats, each in a folder that is thrown away."""
    outline = Outline.of_megabytes(options.megabytes)
    plan = Plan(options.clients, options.concurrent, outline, options.workers, options.upload_dtype)
    folder = options.folder or _FOLDERS[options.state]
    machine = this_machine(folder)
    expected = tuple(
        published_sha256(outline, SEED, options.clients, options.rounds + 1, upload_dtype=options.upload_dtype)
    )
    runs: list[Run] = []
    carried = machine.loopback_gigabytes_per_second
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-", dir=folder) as place:
            seen = play(plan, RunDirectory(Path(place)), len(expected), options.head, options.memory_looks)
        before, carried = carried, round(loopback_gigabytes_per_second(), 2)
        runs.append(run_of(plan, seen, expected, (before, carried)))
    return Measured(
        clients=options.clients,
        concurrent=options.concurrent,
        megabytes=options.megabytes,
        update_bytes=plan.update_bytes,
        workers=options.workers,
        upload_dtype=options.upload_dtype,
        state=options.state,
        machine=machine,
        runs=tuple(runs),
        filesystem=filesystem_of(folder),
    )


def play(plan: Plan, directory: RunDirectory, rounds: int, head_looks: str, memory_looks: str) -> Seen:
    """Play some rounds; the first warms up.

    Parameters
    ----------
    plan : Plan
    directory : RunDirectory
    rounds : int
        The first included.
    head_looks : {"every other", "always", "never"}
        In which rounds S3's head is looked at.
    memory_looks : {"never", "seldom", "often"}
        How often servers are looked at; with "never" nobody's memory is.
    """
    patience = _LEAST_PATIENCE + _SECONDS_PER_GIGABYTE * plan.clients * plan.outline.nbytes / 1e9
    look = _LOOKS[plan.outline.nbytes >= 1e7]
    share = _MEMORY_LOOKS[memory_looks]
    with played(plan, directory) as federation:
        head = HeadWatch.of(federation.store)
        federation.await_arrivals(patience)
        _one_round(federation, head, 1, patience, look)
        # Apart, as clients' memory takes longer to look at: so servers are seen as often as other systems' are.
        servers = Watched({tier: federation.tiers[tier] for tier in SERVERS}, share or SELDOM)
        clients = Watched({"client": federation.tiers["client"]})
        with ExitStack() as looks:
            if share is not None:
                looks.enter_context(servers)
                looks.enter_context(clients)
            timed = tuple(
                _one_round(federation, head if _is_watched(number, head_looks) else None, number, patience, look)
                for number in range(2, rounds + 1)
            )
        high_water = {tier: high_water_bytes(pids) for tier, pids in federation.tiers.items()}
        history = federation.store.rounds.history()
        manifests = {one.round: one.manifest for one in history if isinstance(one.manifest, RoundManifest)}
    return Seen(timed, manifests, servers, clients, high_water)


def run_of(plan: Plan, seen: Seen, expected: Sequence[str], carried: tuple[float, float]) -> Run:
    """Return the figures of what was seen.

    Parameters
    ----------
    plan : Plan
    seen : Seen
    expected : sequence of str
        SHA-256 of all rounds, the first included.
    carried : tuple of float
        What one loopback connection carried before and after it, in GB/s.
    """
    undisturbed = [one for one in seen.timed if one.committed is None] or seen.timed
    spent = {tier: round(sum(one.spent[tier] for one in undisturbed), 4) for tier in seen.timed[0].spent}
    sent = len(undisturbed) * plan.clients * plan.update_bytes / 1e9
    digests = tuple(seen.manifests[number].model.sha256 for number in range(1, len(expected) + 1))
    return Run(
        rounds=tuple(
            one.counted(seen.manifests[one.round], is_whole=one in undisturbed and plan.processes == plan.clients)
            for one in seen.timed
        ),
        cpu_seconds=spent,
        cpu_seconds_per_gigabyte={tier: round(seconds / sent, 3) for tier, seconds in spent.items()},
        peak_pss_megabytes=_megabytes(
            {
                **{tier: seen.servers.peak(tier) for tier in SERVERS},
                "client": seen.clients.peak("client"),
                "aggregators": seen.servers.peak(*AGGREGATORS),
                "servers": seen.servers.peak(*SERVERS),
            }
        ),
        high_water_megabytes=_megabytes(seen.high_water),
        server_memory_samples=seen.servers.samples,
        client_memory_samples=seen.clients.samples,
        model_sha256=digests,
        exact=digests == tuple(expected),
        loopback_gigabytes_per_second=carried,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A federation that has ended: its counted rounds, all manifests by round, memory, and VmHWM of each tier."""

    timed: tuple[_Timed, ...]
    manifests: Mapping[int, RoundManifest]
    servers: Watched
    clients: Watched
    high_water: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Timed:
    """Moments of a round: seconds of the monotonic clock; `date` is that of the release, since the epoch.

    `spent` are CPU seconds of the tiers.
    """

    round: int
    released: float
    date: float
    saved: float | None
    committed: float | None
    held: float
    spent: Mapping[str, float]

    def counted(self, manifest: RoundManifest, *, is_whole: bool) -> Round:
        """Return the round's seconds; `is_whole` where its clients all waited, and nothing disturbed it."""
        return Round(
            round=self.round,
            saved_seconds=None if self.saved is None else round(self.saved - self.released, 4),
            counted_seconds=round(manifest.closed_at.timestamp() - self.date, 4),
            commit_seconds=None if self.committed is None else round(self.committed - self.released, 4),
            held_seconds=round(self.held - self.released, 4) if is_whole else None,
        )


def _is_watched(number: int, head_looks: str) -> bool:
    return head_looks == "always" or (head_looks == "every other" and number % 2 == 0)


def _one_round(federation: Played, head: HeadWatch | None, number: int, patience: float, look: float) -> _Timed:
    before = _cpu(federation)
    date, released = time.time(), federation.release()
    saved, committed = (None, None) if head is None else _watch(federation, head, number, released + patience, look)
    held = federation.await_arrivals(patience)
    after = _cpu(federation)
    spent = {tier: after[tier] - before[tier] for tier in after}
    return _Timed(number, released, date, saved, committed, held, spent)


def _watch(
    federation: Played, head: HeadWatch, number: int, deadline: float, look: float
) -> tuple[float | None, float]:
    """Return when the first client had its update on disk, where that was seen, and when head named the round."""
    saved = None
    next_look = time.monotonic() + look
    while True:
        if federation.next_saved(max(next_look - time.monotonic(), 0.0)) and saved is None:
            saved = time.monotonic()
        if time.monotonic() < next_look:
            continue
        if head.newest_round() >= number:
            return saved, time.monotonic()
        next_look = time.monotonic() + look
        if next_look > deadline:
            raise TimeoutError(f"round {number} was not published in time")


def _cpu(federation: Played) -> dict[str, float]:
    return {tier: cpu_seconds(pids) for tier, pids in federation.tiers.items()}


def _megabytes(sizes: Mapping[str, int]) -> dict[str, float]:
    return {name: round(size / 1e6, 1) for name, size in sizes.items()}


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
