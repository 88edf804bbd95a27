"""The named places in the shells where a crash would hurt most, so that tests can let it happen there.

Reaching one raises a Python audit event (PEP 578). Without an audit hook, which only a
test installs, that costs a tenth of a microsecond, and no flag or variable can arm it.
"""

from __future__ import annotations

import sys
from enum import StrEnum, unique
from typing import Final

EVENT: Final = "fedtier.crash_point"
"""Name of the audit event; its arguments are the point and the round."""


@unique
class CrashPoint(StrEnum):
    """A place between two steps of which the second must not be lost, or must not happen twice."""

    # Either aggregator, on the way of an upload.
    UPLOAD_BEGUN = "upload.begun"
    """The headers were taken, no byte of the body yet."""
    UPLOAD_UNDER_WAY = "upload.under-way"
    """A block of the body is in the spool."""
    UPLOAD_SPOOLED = "upload.spooled"
    """The body is in the spool, unchecked."""
    UPLOAD_CHECKED = "upload.checked"
    """The entry is about to be given to the core."""
    UPLOAD_SETTLED = "upload.settled"
    """The count is known, the reply is not sent."""

    # The master, counting.
    BODIES_ADOPTED = "journal.bodies-adopted"
    """Bodies lie in the journal, and no record names them."""
    RECORD_WRITTEN = "journal.record-written"
    """A record is on disk under its temporary name."""
    RECORD_RENAMED = "journal.record-renamed"
    """A record bears its name, which is not durable yet."""
    ENTRIES_JOURNALED = "recorder.entries-journaled"
    """Entries are durable, and not in the sum."""
    ENTRIES_ADDED = "recorder.entries-added"
    """Entries are durable and in the sum, and nobody was told."""
    SNAPSHOT_WRITTEN = "journal.snapshot-written"
    """A snapshot's body is on disk, and no record names it."""
    SNAPSHOT_COMMITTED = "journal.snapshot-committed"
    """A snapshot counts, and what it covers is still there."""

    # The master, publishing.
    ROUND_CLOSED = "publisher.round-closed"
    """Nothing more is counted, and nothing is written of that."""
    MODEL_WRITTEN = "publisher.model-written"
    """The model is on disk, and no record says that it is to be published."""
    CLOSE_RECORDED = "publisher.close-recorded"
    """What is to be published is durable, and nothing of it is in S3."""
    MODEL_STORED = "publisher.model-stored"
    """S3 has the model."""
    MANIFEST_STORED = "publisher.manifest-stored"
    """S3 has model and manifest, and head does not know."""
    HEAD_SWAPPED = "publisher.head-swapped"
    """The round is published, and nothing here says so."""
    MODEL_SHELVED = "publisher.model-shelved"
    """The published model can be served, and the next round is not open."""
    NEXT_OPENED = "publisher.next-opened"
    """The next round's journal exists, and so does the old one."""
    COPY_WRITTEN = "publisher.copy-written"
    """The newest model's copy is in S3."""

    # The master, starting.
    ATTEMPT_CLAIMED = "recovery.attempt-claimed"
    """Head names a new attempt, and it has no journal."""
    JOURNAL_LOADED = "recovery.journal-loaded"
    """A journal was read back, and is not added up yet."""

    # A worker.
    BATCH_BEGUN = "sealer.batch-begun"
    """A batch is about to be added up."""
    BATCH_SEALED = "sealer.batch-sealed"
    """A batch is a file, and was not sent."""
    BATCH_ANSWERED = "forwarder.batch-answered"
    """The upstream answered a batch, and no client was told."""

    # A client.
    MODEL_FETCHED = "client.model-fetched"
    """The round's model is on disk."""
    UPDATE_TRAINED = "client.update-trained"
    """The update is in memory alone."""
    UPDATE_WRITTEN = "client.update-written"
    """The update is on disk under its temporary name."""
    UPDATE_SAVED = "client.update-saved"
    """The update has its name, and nothing of it was sent."""
    UPDATE_ANSWERED = "client.update-answered"
    """The update counts, and the client has not taken note."""
    UPDATE_SETTLED = "client.update-settled"
    """The update's round is published, and its file is still there."""


def reach(point: CrashPoint, round_number: int) -> None:
    """Say that this process has come to a point.

    Parameters
    ----------
    point : CrashPoint
    round_number : int
        The round that is worked on.
    """
    sys.audit(EVENT, point, round_number)
