"""The thread that closes rounds: mean, close record, S3, head; and then opens the next.

Closing first makes the exact manifest and head durable that are going to be written.
From then on only those bytes are sent, however often, so a crash at any point leads
to the same published round. One compare-and-swap of head publishes the round and
opens the next.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.problems import Problem
from fedtier.reminders import trouble_reminder
from fedtier.rounds import Contributor, Head, RoundManifest, RoundPlan
from fedtier.store import HeadMoved, RoundStore, StoreCorrupt, StoredHead, StoreUnavailable
from master_aggregator.closing import make_close_record, write_model
from master_aggregator.journal import Journal
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import OpenRound, Workshop
from master_aggregator.records import CloseRecord

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_Result = TypeVar("_Result")
_Work: TypeAlias = tuple[OpenRound, CloseRecord | tuple[Contributor, ...] | None]
"""A round and what is to be published of it; None where it goes on and only the round before is to be settled."""


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
    finished : callable
        Is told when nothing is left to be done after the last round.
    metrics : MasterMetrics
    rng : random.Random
        Spreads the tries while S3 or the disk is away.
    """

    def __init__(
        self,
        store: RoundStore,
        workshop: Workshop,
        published: Callable[[RoundManifest, float], None],
        opened: Callable[[OpenRound], None],
        finished: Callable[[], None],
        metrics: MasterMetrics,
        *,
        rng: random.Random,
    ) -> None:
        self._store = store
        self._workshop = workshop
        self._published = published
        self._opened = opened
        self._finished = finished
        self._metrics = metrics
        self._rng = rng
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._trouble: str | None = None
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

    def settle(self, opened: OpenRound) -> None:
        """Queue what an earlier process may have left undone of the round before the open one; returns at once."""
        self._work.put((opened, None))

    def trouble(self) -> str | None:
        """Return why publishing does not get on, or None."""
        return self._trouble

    def _run(self) -> None:
        while True:
            opened, work = self._work.get()
            try:
                self._settle(opened if work is None else self._publish(opened, work))
            except (Problem, StoreCorrupt) as error:
                self._workshop.die(f"round {opened.plan.round} cannot be published: {error}")

    def _settle(self, opened: OpenRound) -> None:
        """Renew the copy of the newest model, which opened the round."""
        base, shelf = opened.plan.base, self._workshop.shelf
        # From the shelf anew each time: it may let go of the file while S3 is away.
        self._insist(opened, lambda: self._store.refresh_copy(base.round, base.sha256, shelf.path(base)))
        reach(CrashPoint.COPY_WRITTEN, base.round)
        if opened.plan.finished:
            self._finished()

    def _publish(self, opened: OpenRound, work: CloseRecord | tuple[Contributor, ...]) -> OpenRound:
        """Publish a round and return the one that is open then."""
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
        return following

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
        """Do a step until it works: a closed round is published, however long S3 or the disk takes.

        Without its journal it never would: then the process ends.
        """
        pause, reminder, began = _FIRST_PAUSE, trouble_reminder(), self._workshop.clock()
        while True:
            try:
                result = step()
            except (StoreUnavailable, OSError) as error:
                if isinstance(error, OSError):
                    opened.journal.require_there()
                reason = self._workshop.state.refuse(error).detail if isinstance(error, OSError) else str(error)
                self._trouble = f"a round waits to be published: {reason}"
                self._metrics.retries.add("disk" if isinstance(error, OSError) else "s3")
                lasted = (self._workshop.clock() - began).total_seconds()
                if reminder.due(lasted):
                    self._tell_of_trouble(opened.plan, reason, lasted)
            else:
                self._trouble = None
                return result
            threading.Event().wait(self._rng.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell_of_trouble(self, plan: RoundPlan, reason: str, lasted: float) -> None:
        self._log.warning(
            "publishing does not get on",
            round=plan.round,
            attempt=plan.attempt,
            reason=reason,
            for_seconds=round(lasted, 1),
        )
