"""The thread that closes rounds: mean, close record, S3, head; and then opens the next.

Closing first makes the exact manifest and head durable that are going to be written.
From then on only those bytes are sent, however often, so a crash at any point leads
to the same published round. One compare-and-swap of head publishes the round and
opens the next.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.problems import Problem
from fedtier.rounds import Contributor, Head, RoundManifest
from fedtier.store import HeadMoved, RoundStore, StoreCorrupt, StoredHead
from master_aggregator.closing import make_close_record, write_model
from master_aggregator.insisting import Insistence
from master_aggregator.journal import Journal
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import OpenRound, Workshop
from master_aggregator.records import CloseRecord

_Result = TypeVar("_Result")
_Work: TypeAlias = tuple[OpenRound, CloseRecord | tuple[Contributor, ...]]
"""A round and what is to be published of it."""


class Publisher:
    """Publishes one round after the other.

    Parameters
    ----------
    store : RoundStore
    workshop : Workshop
        Opens the next round.
    published : callable
        Takes a published round's manifest, and the seconds from its written model to the moved head.
    opened : callable
        Takes the round that is open now.
    insistence : Insistence
    metrics : MasterMetrics
    """

    def __init__(
        self,
        store: RoundStore,
        workshop: Workshop,
        published: Callable[[RoundManifest, float], None],
        opened: Callable[[OpenRound], None],
        insistence: Insistence,
        metrics: MasterMetrics,
    ) -> None:
        self._store = store
        self._workshop = workshop
        self._published = published
        self._opened = opened
        self._insistence = insistence
        self._metrics = metrics
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="publisher", daemon=True).start()

    def close(self, opened: OpenRound, contributors: tuple[Contributor, ...]) -> None:
        """Queue a round to be closed; returns at once."""
        self._work.put((opened, contributors))

    def resume(self, opened: OpenRound, record: CloseRecord) -> None:
        """Queue a round that an earlier process closed; returns at once."""
        self._work.put((opened, record))

    def trouble(self) -> str | None:
        """Return why publishing does not get on, or None."""
        return self._insistence.trouble()

    def _run(self) -> None:
        while True:
            opened, work = self._work.get()
            try:
                self.publish(opened, work)
            except (Problem, StoreCorrupt) as error:
                self._workshop.die(f"round {opened.plan.round} cannot be published: {error}")

    def publish(self, opened: OpenRound, work: CloseRecord | tuple[Contributor, ...]) -> None:
        """Publish a round and open the next."""
        log = self._log.bind(round=opened.plan.round, attempt=opened.plan.attempt)
        record, magnitudes = (work, None) if isinstance(work, CloseRecord) else self._insist_on_closing(opened, work)
        path = opened.journal.model_path
        round_number = opened.plan.round
        manifest = RoundManifest.from_json(record.manifest)
        began = self._workshop.clock()
        self._insist(opened, lambda: self._store.put_model(round_number, record.model_sha256, path))
        reach(CrashPoint.MODEL_STORED, round_number)
        self._insist(opened, lambda: self._store.put_manifest(round_number, record.manifest.encode()))
        reach(CrashPoint.MANIFEST_STORED, round_number)
        head = StoredHead(record.head, self._insist(opened, lambda: self._swap(opened, record.head)))
        reach(CrashPoint.HEAD_SWAPPED, round_number)
        log.info("round published", sha256=record.model_sha256, contributors=len(manifest.contributors))
        self._published(manifest, (self._workshop.clock() - began).total_seconds())
        self._insist(opened, lambda: self._workshop.shelf.adopt(path, record.model_sha256))
        reach(CrashPoint.MODEL_SHELVED, round_number)
        following = self._insist(
            opened, lambda: self._workshop.open_after(head, manifest.model, opened.total, magnitudes)
        )
        reach(CrashPoint.NEXT_OPENED, round_number)
        self._opened(following)
        Journal.remove(opened.journal.folder)

    def _insist_on_closing(
        self, opened: OpenRound, contributors: tuple[Contributor, ...]
    ) -> tuple[CloseRecord, tuple[float, ...]]:
        with self._metrics.close.time():
            return self._insist(opened, lambda: self._close(opened, contributors))

    def _close(self, opened: OpenRound, contributors: tuple[Contributor, ...]) -> tuple[CloseRecord, tuple[float, ...]]:
        """Write the model and make durable what is going to be published; return that and the model's magnitudes."""
        reach(CrashPoint.ROUND_CLOSED, opened.plan.round)
        closed_at = self._workshop.clock()
        written = write_model(opened)
        reach(CrashPoint.MODEL_WRITTEN, opened.plan.round)
        record = make_close_record(opened, written.digest, contributors, (closed_at, self._workshop.clock()))
        opened.journal.close(record)
        reach(CrashPoint.CLOSE_RECORDED, opened.plan.round)
        return record, written.magnitudes

    def _swap(self, opened: OpenRound, head: Head) -> str:
        try:
            return self._store.swap_head(head, opened.head.etag, own_content_is_success=True)
        except HeadMoved as moved:
            self._workshop.die(
                f"another master has taken over: {moved}. This one stops; what it had counted of round "
                f"{opened.plan.round}, attempt {opened.plan.attempt}, is sent again by the clients"
            )

    def _insist(self, opened: OpenRound, step: Callable[[], _Result]) -> _Result:
        """Do a step until it works: a closed round is published; without its journal it never would be."""
        return self._insistence.insist(opened.plan, step, opened.journal.require_there)
