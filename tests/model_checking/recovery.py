"""How a simulated master finds the open round at its start: `master_aggregator.recovery`.

Every `yield` is a point at which others may act, or the process may end.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from fedtier.rounds import Contributor, Head, ModelDigest, RoundPlan, parse_manifest
from fedtier.store import HeadMoved, StoredHead, StoreUnavailable
from master_aggregator.records import CloseRecord
from tests.model_checking.journals import Ended, Folder, Opening, Workshop, digest_of

_CLAIM_TRIES: Final = 5


class TakenOver(Ended):
    """The disk is of another attempt than the open one; it is of no use to any later process either."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The open round as it stands at start."""

    opening: Opening
    counted: tuple[Contributor, ...] = ()
    close: CloseRecord | None = None


def recover(workshop: Workshop) -> Generator[None, None, Recovered]:
    """Find the open round, or open it."""
    try:
        recovered = yield from _recover(workshop)
    except StoreUnavailable as error:
        raise Ended(str(error)) from None
    yield
    workshop.forget(pair for pair in workshop.folders if pair != recovered.opening.folder.plan.pair)
    return recovered


def _recover(workshop: Workshop) -> Generator[None, None, Recovered]:
    head = workshop.around.bucket.read_head()
    model = parse_manifest(workshop.around.bucket.read_manifest(head.head.manifest_sha256)).model
    yield
    here = (head.head.round + 1, head.head.attempt)
    before = (head.head.round, head.head.attempt - 1)
    folder = workshop.folders.get(here if here in workshop.folders else before)
    if folder is None or folder.damaged:
        if workshop.folders.keys() - {here, before}:
            raise TakenOver(f"{workshop.folders.keys()} is not of {here}")
        return (yield from _start_over(workshop, head, model))
    if folder.plan.pair == here:
        if _may_go_on(folder.plan, workshop.around.rules.final_round):
            return (yield from _start_over(workshop, head, model))
        return _replay(folder, head)
    if folder.close is not None and folder.close.head == head.head:
        return Recovered(workshop.open_after(head, model))
    raise TakenOver(f"{folder.plan.pair} is not of {here}")


def _may_go_on(plan: RoundPlan, last: int | None) -> bool:
    return plan.finished and (last is None or plan.round <= last)


def _start_over(workshop: Workshop, head: StoredHead, model: ModelDigest) -> Generator[None, None, Recovered]:
    """Claim a new attempt at the open round from head, then open it."""
    workshop.forget(workshop.folders)
    current = head
    for _ in range(_CLAIM_TRIES):
        yield
        claim = Head(round=head.head.round, manifest_sha256=head.head.manifest_sha256, attempt=current.head.attempt + 1)
        try:
            etag = workshop.around.bucket.swap_head(claim, current.etag, own_content_is_success=False)
        except HeadMoved as moved:
            if moved.current is None or moved.current.head.round != head.head.round:
                break
            current = moved.current
        else:
            yield
            return Recovered(workshop.open_after(StoredHead(claim, etag), model))
    raise Ended("head keeps moving: another master is running")


def _replay(folder: Folder, head: StoredHead) -> Recovered:
    opening = Opening(folder, folder.total, head)
    close = folder.close
    if close is not None and (folder.model is None or digest_of(folder.model).sha256 != close.model_sha256):
        folder.model = opening.total.copy()
    return Recovered(opening, folder.contributors, close)
