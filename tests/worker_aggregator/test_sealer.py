"""The thread that adds batches up, on real files."""

from __future__ import annotations

import os
import queue
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, filterfalse, islice
from pathlib import Path

import pytest

from fedtier.entries import Entry, add_entry, read_partial, read_update
from fedtier.exact import ExactSum
from fedtier.problems import Unavailable
from fedtier.serving.statedir import StateDirectory
from tests.builders import make_plan, received, sum_of, trained, update_bytes
from worker_aggregator.events import Batch, BatchRefused, DropBody, Event, LeftOut, Seal
from worker_aggregator.metrics import WorkerMetrics
from worker_aggregator.sealer import SealedBatch, Sealer

PLAN = make_plan()
PATIENCE = 30.0


@dataclass
class Bench:
    """A sealer, and what it has said."""

    state: StateDirectory
    told: queue.SimpleQueue[SealedBatch | Event] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.sealer = Sealer(self.state, self.told.put, self.told.put, WorkerMetrics(lambda: 0.0))
        self.sealer.start()

    def next(self) -> SealedBatch | Event:
        return self.told.get(timeout=PATIENCE)

    def spooled(self, seed: int) -> Entry:
        content = update_bytes(trained(seed), seed)
        with self.state.admitted_file(len(content)) as path:
            return read_update(PLAN, f"client-{seed}", received(path, content))

    def seal(self, entries: Mapping[int, Entry]) -> None:
        self.sealer.put(Seal(Batch("batch", PLAN, entries)))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(StateDirectory(tmp_path))


def assert_is_sum_of(sealed: SealedBatch | Event, entries: Mapping[int, Entry]) -> None:
    assert isinstance(sealed, SealedBatch)
    assert sealed.batch.entries == entries
    partial = read_partial(PLAN, sealed.body)
    assert partial.client_ids == {f"client-{seed}" for seed in entries}
    total = ExactSum(PLAN.sums)
    add_entry(total, partial)
    assert total == sum_of(PLAN, [(trained(seed), seed) for seed in entries])


def open_files(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    links = Path("/proc/self/fd").iterdir()
    with_gone = (os.readlink(link) for link in links if link.is_symlink())
    return [name for name in with_gone if name.startswith(str(folder))]


@contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """Let few more be opened, meanwhile: as many, or some more where this process closes others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = frozenset(map(int, os.listdir("/dev/fd")))
    free = filterfalse(opened.__contains__, count())  # the lowest one is given first
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, left, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_batch_goes_without_the_entries_that_cannot_be_read(bench: Bench) -> None:
    entries = {seed: bench.spooled(seed) for seed in (1, 2, 3, 4)}
    entries[2].body.path.unlink()
    with entries[3].body.path.open("r+b") as file:
        file.truncate(entries[3].body.path.stat().st_size - 10)
    bench.seal(entries)
    left_out = [bench.next(), bench.next()]
    assert {event.ticket for event in left_out if isinstance(event, LeftOut)} == {2, 3}
    assert_is_sum_of(bench.next(), {seed: entries[seed] for seed in (1, 4)})
    # One file of the batch, and of each entry that is there one: what was begun is gone.
    assert len(list(bench.state.spool.iterdir())) == 4


def test_a_batch_of_which_no_entry_can_be_read_is_refused(bench: Bench) -> None:
    entries = {seed: bench.spooled(seed) for seed in (1, 2, 3)}
    for entry in entries.values():
        entry.body.path.unlink()
    bench.seal(entries)
    left_out = [bench.next() for _ in entries]
    assert [event.ticket for event in left_out if isinstance(event, LeftOut)] == [1, 2, 3]
    refused = bench.next()
    assert isinstance(refused, BatchRefused)
    assert isinstance(refused.problem, Unavailable)
    assert list(bench.state.spool.iterdir()) == []


def test_without_descriptors_a_batch_is_refused_and_no_entry_blamed(bench: Bench) -> None:
    entries = {seed: bench.spooled(seed) for seed in range(1, 65)}
    spooled = bench.state.spool_bytes
    with few_descriptors(4):
        bench.seal(entries)
        refused = bench.next()
    assert isinstance(refused, BatchRefused)
    assert "no file descriptor is left" in refused.problem.detail
    assert bench.state.spool_bytes == spooled
    bench.seal(entries)
    assert_is_sum_of(bench.next(), entries)


def test_no_descriptor_stays_open(bench: Bench) -> None:
    entries = {seed: bench.spooled(seed) for seed in (1, 2, 3)}
    gone = bench.spooled(4)
    gone.body.path.unlink()
    before = open_files(bench.state.path)
    bench.seal({**entries, 4: gone})
    assert isinstance(bench.next(), LeftOut)
    assert_is_sum_of(bench.next(), entries)
    assert open_files(bench.state.path) == before


def test_a_file_is_dropped_after_the_batch_that_reads_it(bench: Bench) -> None:
    entries = {seed: bench.spooled(seed) for seed in (1, 2)}
    bench.seal(entries)
    for entry in entries.values():
        bench.sealer.put(DropBody(entry))
    bench.seal({3: bench.spooled(3)})
    assert_is_sum_of(bench.next(), entries)
    bench.next()
    assert not any(entry.body.path.exists() for entry in entries.values())
