"""Where an earlier process stopped: what head and the journals say, and what follows from it at start.

Head and journal agree on the open round: it goes on. Head is what the close record
says: the round is published, the next opens. No journal, or a damaged one: a new
attempt, claimed from head before its journal exists. Anything else: another master
has taken over, and this one must not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import add_entry
from fedtier.exact import ExactSum
from fedtier.problems import StartupError
from fedtier.rounds import Contributor, Head, ModelDigest, parse_manifest
from fedtier.serving.statedir import StateDirectory, sync_directory
from fedtier.store import HeadMoved, RoundStore, StoreCorrupt, StoredHead, StoreUnavailable
from fedtier.upstream import file_sha256
from master_aggregator.closing import write_model
from master_aggregator.journal import Contents, Journal, find_journals, remove_others
from master_aggregator.opening import OpenRound, Workshop, base_round
from master_aggregator.records import CloseRecord, Damaged

_CLAIM_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Recovered:
    """The open round as it stands at start.

    Parameters
    ----------
    opened : OpenRound
    counted : tuple of Contributor
    close : CloseRecord or None
        The round is closed, and this is to be published.
    """

    opened: OpenRound
    counted: tuple[Contributor, ...] = ()
    close: CloseRecord | None = None


def recover(store: RoundStore, state: StateDirectory, workshop: Workshop) -> Recovered:
    """Find the open round, or open it.

    Raises
    ------
    StartupError
        Nothing is published yet, S3 cannot be used, or another master has taken over.
    """
    try:
        recovered = _recover(store, state, workshop)
        remove_others(recovered.opened.journal)
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None
    except OSError as error:
        raise StartupError(f"the state directory {state.path} cannot be used: {error}") from None
    return recovered


def _recover(store: RoundStore, state: StateDirectory, workshop: Workshop) -> Recovered:
    head = _require_head(store)
    model = _model_of(store, head)
    journals = find_journals(state.path)
    here = (head.head.round + 1, head.head.attempt)
    before = (head.head.round, head.head.attempt - 1)
    log = structlog.get_logger().bind(round=here[0], attempt=here[1])
    loaded = _load(journals, here if here in journals else before, workshop.die)
    if loaded is None:
        _require_no_other(journals, here, before, head, state.path)
        level = log.warning if journals else log.info
        level("no usable journal of the open round: a new attempt begins")
        _forget(journals, state.path)
        return Recovered(_claim(store, head, model, workshop))
    journal, contents = loaded
    reach(CrashPoint.JOURNAL_LOADED, journal.plan.round)
    if journal.plan.pair == here:
        if _may_go_on(journal, workshop):
            _forget(journals, state.path)
            return Recovered(_claim(store, head, model, workshop))
        log.info("the journal of the open round is replayed", entries=len(contents.entries))
        return _replay(journal, contents, head, workshop)
    if contents.close is not None and contents.close.head == head.head:
        log.info("the round before is published: the next one opens")
        return Recovered(_open_next(journals, head, model, workshop))
    raise _taken_over(head, state.path)


def _open_next(
    journals: dict[tuple[int, int], Path], head: StoredHead, model: ModelDigest, workshop: Workshop
) -> OpenRound:
    """Open the round after a published one, at the cost of that one's journal where there is no room for both."""
    try:
        return workshop.open_after(head, model)
    except OSError:
        _forget(journals, workshop.state.path)
        return workshop.open_after(head, model)


def _may_go_on(journal: Journal, workshop: Workshop) -> bool:
    """Return whether a federation that was finished has further rounds to go; such a round took nothing yet."""
    last = workshop.rules.final_round
    return journal.plan.finished and (last is None or journal.plan.round <= last)


def _require_head(store: RoundStore) -> StoredHead:
    head = store.read_head()
    if head is None:
        raise StartupError(
            f"nothing is published at {store.keys.prefix} yet; give the initial model with --web_model PATH_OR_URL"
        )
    return head


def _model_of(store: RoundStore, head: StoredHead) -> ModelDigest:
    return parse_manifest(store.read_manifest(head.head.round, head.head.manifest_sha256)).model


def _load(
    journals: dict[tuple[int, int], Path], pair: tuple[int, int], die: Callable[[str], NoReturn]
) -> tuple[Journal, Contents] | None:
    """Return a journal and what it holds; None where there is none or it is damaged, which is the same."""
    if pair not in journals:
        return None
    try:
        return Journal.load(journals[pair], die)
    except Damaged as damage:
        structlog.get_logger().error("the journal is damaged", reason=str(damage))
        return None


def _require_no_other(
    journals: dict[tuple[int, int], Path],
    here: tuple[int, int],
    before: tuple[int, int],
    head: StoredHead,
    path: Path,
) -> None:
    if journals.keys() - {here, before}:
        raise _taken_over(head, path)


def _forget(journals: dict[tuple[int, int], Path], root: Path) -> None:
    """Delete journals before their attempt is given up: found again after it, they would be another master's."""
    for folder in journals.values():
        Journal.remove(folder)
    sync_directory(root)


def _taken_over(head: StoredHead, path: Path) -> StartupError:
    return StartupError(
        f"the state directory {path} belongs to another attempt than the open one (round {head.head.round + 1}, "
        f"attempt {head.head.attempt}): another master has taken over. Stop the other one, or give this one "
        "an empty --state-dir to take over in turn; clients send again what was not published"
    )


def _claim(store: RoundStore, head: StoredHead, model: ModelDigest, workshop: Workshop) -> OpenRound:
    """Claim a new attempt at the open round from head, then open it.

    A head that equals ours is not taken for ours: two masters may write the same bytes.
    """
    _require_room(head, model, workshop)
    current = head
    for _ in range(_CLAIM_TRIES):
        claim = Head(round=head.head.round, manifest_sha256=head.head.manifest_sha256, attempt=current.head.attempt + 1)
        try:
            etag = store.swap_head(claim, current.etag, own_content_is_success=False)
        except HeadMoved as moved:
            if moved.current is None or moved.current.head.round != head.head.round:
                break
            current = moved.current
        else:
            reach(CrashPoint.ATTEMPT_CLAIMED, claim.round + 1)
            return workshop.open_after(StoredHead(claim, etag), model)
    raise StartupError("head in S3 keeps moving: another master is running; stop one of them")


def _require_room(head: StoredHead, model: ModelDigest, workshop: Workshop) -> None:
    """Check that the round can be opened here, before the attempt of whoever has it open now is ended for it."""
    workshop.shelf.path(base_round(head.head.round, model))
    trouble = workshop.state.unready()
    if trouble is not None:
        raise StartupError(f"{trouble}: {workshop.state.path}; make room, or choose another with --state-dir")


def _replay(journal: Journal, contents: Contents, head: StoredHead, workshop: Workshop) -> Recovered:
    journal.base_path.unlink(missing_ok=True)
    os.link(workshop.shelf.path(journal.plan.base), journal.base_path)
    total = ExactSum(journal.plan.sums)
    for entry in contents.entries:
        add_entry(total, entry)
    opened = OpenRound(journal, total, head)
    close = contents.close
    if close is not None:
        path = journal.model_path
        if not path.exists() or file_sha256(path) != close.model_sha256:
            _make_again(opened, close)
    return Recovered(opened, contents.contributors, close)


def _make_again(opened: OpenRound, close: CloseRecord) -> None:
    made = write_model(opened).digest.sha256
    if made != close.model_sha256:
        raise StartupError(
            f"the journal {opened.journal.folder} gives a model with the SHA-256 {made}, but {close.model_sha256} is "
            "to be published: the disk or the memory of this machine is damaged, or this is another version of "
            "fedtier. Start the version that closed the round; or start with an empty --state-dir, and clients send "
            "again what was not published"
        )
