"""The way of an upload: its address and role, its headers, its body on disk, what is in it, and the count."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, cast

from flask import g, request

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Entry, Received, partial_size_limit, read_partial, read_update, update_size_limit
from fedtier.fields import require_id
from fedtier.header import header_length
from fedtier.problems import BadRequest, Problem, SlowDown, Unavailable
from fedtier.rounds import PartialReceipt, RoundPlan, UpdateReceipt
from fedtier.serving.access import require
from fedtier.serving.intake import BodyHeaders, ByteSource, read_body_headers, receive_body
from fedtier.serving.observing import UploadWatch, WatchedUpload
from fedtier.serving.shares import ParsingRoom, TransferSlots, client_of
from fedtier.serving.statedir import StateDirectory
from fedtier.serving.tier import Tier, Upload

_ROUND: Final = re.compile(r"[0-9]{1,9}")


class Uploads:
    """Takes updates and partials."""

    def __init__(self, tier: Tier, state: StateDirectory, slots: TransferSlots, watch: UploadWatch) -> None:
        self._tier = tier
        self._state = state
        self._slots = slots
        self._parsing = ParsingRoom()
        self._watch = watch

    def update(self, number: str, client_id: str) -> UpdateReceipt:
        """Take a client's update."""
        with self._watch.upload("update") as seen, self._noting_refusal():
            return self._update(number, client_id, seen)

    def _update(self, number: str, client_id: str, seen: WatchedUpload) -> UpdateReceipt:
        round_number, client_id = parse_round(number), require_id(client_id, "client")
        require(g.bearer, roles={"client"}, subject=client_id)
        seen.known(round=round_number, client_id=client_id)
        with self._slots.take(client_id):
            plan = self._tier.admit(round_number, client_id)
            seen.known(attempt=plan.attempt)
            expected = read_body_headers(request.headers, limit=update_size_limit(plan))
            with self._tier.receiving() as upload:
                entry = self._receive(
                    plan, expected, (upload, seen), lambda body: self._read_update(plan, client_id, body)
                )
                receipt = self._tier.settle_update(entry, upload)
            reach(CrashPoint.UPLOAD_SETTLED, plan.round)
            return receipt

    def partial(self, number: str, batch_id: str) -> PartialReceipt:
        """Take a worker's partial."""
        with self._watch.upload("partial") as seen:
            return self._partial(number, batch_id, seen)

    def _partial(self, number: str, batch_id: str, seen: WatchedUpload) -> PartialReceipt:
        round_number, batch_id = parse_round(number), require_id(batch_id, "batch")
        require(g.bearer, roles={"worker"})
        seen.known(round=round_number, batch=batch_id)
        with self._slots.take(client_of(g.bearer)), ExitStack() as held:
            plan = self._tier.admit(round_number, None)
            seen.known(attempt=plan.attempt)
            expected = read_body_headers(request.headers, limit=partial_size_limit(plan))
            with self._tier.receiving() as upload:
                entry = self._receive(plan, expected, (upload, seen), lambda body: self._read_partial(plan, body, held))
                receipt = self._tier.settle_partial(entry, upload, batch_id)
            reach(CrashPoint.UPLOAD_SETTLED, plan.round)
            return receipt

    def _read_update(self, plan: RoundPlan, client_id: str, body: Received) -> Entry:
        with self._parsing.take(header_length(body.path)):
            return read_update(plan, client_id, body)

    def _read_partial(self, plan: RoundPlan, body: Received, held: ExitStack) -> Entry:
        """Check a partial, whose contributors stay in memory while it waits to be counted."""
        held.enter_context(self._parsing.take(header_length(body.path)))
        return read_partial(plan, body)

    @contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except (Unavailable, SlowDown):  # no refusal: the update comes again
            raise
        except Problem as problem:
            self._tier.note_refused({problem.name: 1})
            raise

    def _receive(
        self,
        plan: RoundPlan,
        expected: BodyHeaders,
        watchers: tuple[Upload, WatchedUpload],
        check: Callable[[Received], Entry],
    ) -> Entry:
        """Bring the body to disk and check it; a tier owns the file from the entry on."""
        upload, seen = watchers

        def bytes_came() -> None:
            upload.bytes_came()
            reach(CrashPoint.UPLOAD_UNDER_WAY, plan.round)

        reach(CrashPoint.UPLOAD_BEGUN, plan.round)
        body = receive_body(
            seen.body(cast(ByteSource, request.stream), expected.length), expected, self._state, bytes_came
        )
        seen.received()
        reach(CrashPoint.UPLOAD_SPOOLED, plan.round)
        try:
            entry = check(body)
        except BaseException as error:
            self._state.drop(body.path)
            if isinstance(error, OSError):
                raise self._state.refuse(error) from error
            raise
        seen.checked()
        reach(CrashPoint.UPLOAD_CHECKED, plan.round)
        return entry


def parse_round(number: str) -> int:
    """Return a round number from a path.

    Raises
    ------
    BadRequest
    """
    if not _ROUND.fullmatch(number):
        raise BadRequest(f"the round {number[:40]!r} is not a number of at most nine digits")
    return int(number)
