"""How a simulated master publishes a round: `master_aggregator.publisher`.

Every `yield` is a point at which others may act, or the process may end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

from fedtier.rounds import Contributor, parse_manifest
from fedtier.store import HeadMoved, StoredHead, StoreUnavailable
from master_aggregator.records import CloseRecord
from tests.model_checking.journals import Ended, Opening, Workshop, close_record_of, digest_of

Work: TypeAlias = CloseRecord | tuple[Contributor, ...]
"""What is to be published of a round."""


def publish(
    workshop: Workshop, opening: Opening, work: Work, opened: Callable[[Opening], None]
) -> Generator[None, None, None]:
    """Publish a round and open the next."""
    bucket, folder = workshop.around.bucket, opening.folder
    record = work if isinstance(work, CloseRecord) else (yield from _close(workshop, opening, work))
    yield
    assert folder.model is not None, "a round's model is written before it is closed"
    assert digest_of(folder.model).sha256 == record.model_sha256, "the model is the one that the close record names"
    bucket.put_model(record.model_sha256, folder.model)
    yield
    bucket.put_manifest(record.manifest.encode())
    yield
    etag = yield from _swap(workshop, opening, record)
    yield
    model = parse_manifest(record.manifest.encode()).model
    following = workshop.open_after(StoredHead(record.head, etag), model)
    yield
    opened(following)
    yield
    workshop.forget([folder.plan.pair])


def _close(
    workshop: Workshop, opening: Opening, contributors: tuple[Contributor, ...]
) -> Generator[None, None, CloseRecord]:
    """Write the model, which takes its time, and make durable what is going to be published."""
    yield
    yield
    opening.folder.model = opening.total.copy()
    record = close_record_of(opening, contributors, workshop.around.now())
    yield
    opening.folder.close = record
    return record


def _swap(workshop: Workshop, opening: Opening, record: CloseRecord) -> Generator[None, None, str]:
    while True:
        try:
            return workshop.around.bucket.swap_head(record.head, opening.head.etag, own_content_is_success=True)
        except HeadMoved as moved:
            raise Ended(f"another master has taken over: {moved}") from None
        except StoreUnavailable:
            yield
