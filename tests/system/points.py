"""The crash points by the step they lie in; together they are all there are."""

from __future__ import annotations

from fedtier.crash_points import CrashPoint

UPLOADING = [
    CrashPoint.UPLOAD_BEGUN,
    CrashPoint.UPLOAD_UNDER_WAY,
    CrashPoint.UPLOAD_SPOOLED,
    CrashPoint.UPLOAD_CHECKED,
    CrashPoint.UPLOAD_SETTLED,
]
COUNTING = [
    CrashPoint.BODIES_ADOPTED,
    CrashPoint.RECORD_WRITTEN,
    CrashPoint.RECORD_RENAMED,
    CrashPoint.ENTRIES_JOURNALED,
    CrashPoint.ENTRIES_ADDED,
]
SNAPSHOTTING = [CrashPoint.SNAPSHOT_WRITTEN, CrashPoint.SNAPSHOT_COMMITTED]
PUBLISHING = [
    CrashPoint.ROUND_CLOSED,
    CrashPoint.MODEL_WRITTEN,
    CrashPoint.CLOSE_RECORDED,
    CrashPoint.MODEL_STORED,
    CrashPoint.MANIFEST_STORED,
    CrashPoint.HEAD_SWAPPED,
    CrashPoint.MODEL_SHELVED,
    CrashPoint.NEXT_OPENED,
    CrashPoint.COPY_WRITTEN,
]
STARTING = [CrashPoint.ATTEMPT_CLAIMED, CrashPoint.JOURNAL_LOADED]
SUMMING = [CrashPoint.BATCH_BEGUN, CrashPoint.BATCH_SEALED, CrashPoint.BATCH_ANSWERED]
TAKING_PART = [
    CrashPoint.MODEL_FETCHED,
    CrashPoint.UPDATE_TRAINED,
    CrashPoint.UPDATE_WRITTEN,
    CrashPoint.UPDATE_SAVED,
    CrashPoint.UPDATE_ANSWERED,
    CrashPoint.UPDATE_SETTLED,
]
