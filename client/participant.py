"""The round loop of one client, as a state machine: events in, decisions out.

It knows no network, clock or disk; `client.performer` performs what it decides and feeds
back what came of it. Rounds are ordered by their pair (round, attempt): what an
older pair says is ignored, and a 200 is a promise for its own pair only. An update
is kept until a later round is seen, so one that was saved is sent again, never
trained a second time.

A server that puts an upload off for too long is asked once more how the round stands:
a paused round is waited for, however long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from client.events import (
    Accepted,
    Decision,
    Discard,
    Event,
    Failed,
    FetchModel,
    ModelReady,
    Note,
    Poll,
    PutOff,
    Refused,
    RoundSeen,
    SavedUpdate,
    Step,
    Stop,
    StopAsked,
    Tell,
    Train,
    Trained,
    Upload,
)
from fedtier.problems import (
    DigestMismatch,
    NotFound,
    NotSelected,
    Problem,
    RoundNotOpen,
    RoundOver,
    WeightLimit,
)
from fedtier.rounds import BaseRound, RoundStatus, UpdateReceipt

Pair: TypeAlias = tuple[int, int]

_FIRST_PACE: Final = 1.0


class Participant:
    """Takes part in round after round.

    Parameters
    ----------
    client_id : str
    last_round : int, optional
        The round to reach; without it, go on until the federation is finished.
    saved : iterable of SavedUpdate
        Updates that an earlier process left on disk.
    """

    def __init__(self, client_id: str, *, last_round: int | None = None, saved: Iterable[SavedUpdate] = ()) -> None:
        self._client_id = client_id
        self._last_round = last_round
        self._saved = {update.key: update for update in saved}
        self._status: RoundStatus | None = None
        # Not that of a saved update: it may be of another federation, which would be waited for without end.
        self._newest: Pair = (0, 0)
        self._nothing_left: Pair = (0, 0)
        self._promise: Pair | None = None
        self._sending: SavedUpdate | None = None
        self._put_off: str | None = None

    def handle_event(self, event: Event) -> Decision:
        """Take note of what happened and decide what comes next."""
        sending, self._sending = self._sending, None
        match event:
            case RoundSeen(status):
                return self._round_seen(status)
            case ModelReady(base):
                return self._model_ready(base)
            case Trained(update):
                return self._trained(update)
            case Accepted(receipt):
                return self._accepted(receipt, sending)
            case Refused(problem):
                return self._refused(problem, sending)
            case PutOff() | Failed() | StopAsked():
                return self._unanswered(event, sending)

    def _round_seen(self, status: RoundStatus) -> Decision:
        if status.pair < self._newest:
            return Decision(Poll(status.poll_after))
        first_look, same_round = self._status is None, self._status is not None and self._status.pair == status.pair
        put_off, self._put_off = self._put_off, None
        self._advance(status.pair)
        self._status = status
        step = self._next_step(status, first_look=first_look)
        if put_off is not None and same_round and isinstance(step, Upload):
            step = self._failed(put_off)
        return Decision(step, tuple(self._settle(status.round)))

    def _next_step(self, status: RoundStatus, *, first_look: bool) -> Step:
        published = status.round - 1
        if self._last_round is not None and published >= self._last_round:
            already = " already" if first_look else ""
            return Stop(f"round {self._last_round} is published{already}", ok=True)
        if status.state == "finished":
            return Stop(f"the federation finished with round {published}", ok=True)
        idle = status.state != "collecting" or not status.selects(self._client_id)
        if idle or status.pair <= self._nothing_left:
            return Poll(status.poll_after)
        update = self._saved.get((status.round, status.base.sha256))
        return FetchModel(status.base) if update is None else self._upload(update)

    def _unanswered(self, event: PutOff | Failed | StopAsked, sending: SavedUpdate | None) -> Decision:
        if isinstance(event, StopAsked):
            return Decision(Stop(f"told to stop; {self._left_behind()}", ok=True))
        if isinstance(event, PutOff) and sending is not None:
            self._put_off = event.detail
            return self._look_again()
        if isinstance(event, Failed) and event.lost and sending is not None:
            del self._saved[sending.key]
        return Decision(self._failed(event.detail))

    def _failed(self, detail: str) -> Stop:
        unsent = self._unsent()
        return Stop(detail if unsent is None else f"{detail}; {_kept(unsent)}", ok=False)

    def _left_behind(self) -> str:
        """Say what a client that stops now leaves on disk."""
        unsent = self._unsent()
        if unsent is not None:
            return _kept(unsent)
        if self._saved:
            return f"the update of round {max(self._saved)[0]} counts"
        return "no update waits to be sent"

    def _unsent(self) -> SavedUpdate | None:
        """Return the newest update on disk of which no answer said that it counts."""
        promised = None if self._promise is None else self._promise[0]
        unsent = [update for update in self._saved.values() if update.round != promised]
        return max(unsent, key=lambda update: update.key, default=None)

    def _upload(self, update: SavedUpdate) -> Upload:
        self._sending = update
        return Upload(update)

    def _settle(self, open_round: int) -> Iterable[Note]:
        """Let go of updates for rounds that are published: only their manifests matter now."""
        for update in sorted(self._saved.values(), key=lambda update: update.key):
            if update.round >= open_round:
                continue
            del self._saved[update.key]
            if self._promise is None or self._promise[0] != update.round:
                detail = (
                    f"round {update.round} closed and no answer said that the update counted; "
                    "the round's manifest says whether it did"
                )
                yield Tell("round-over", update, None, detail)
            yield Discard(update)

    def _model_ready(self, base: BaseRound) -> Decision:
        if self._status is None or base.sha256 != self._status.base.sha256:
            return self._look_again()
        return Decision(Train(self._status))

    def _trained(self, update: SavedUpdate) -> Decision:
        self._saved[update.key] = update
        if self._status is None or update.key != (self._status.round, self._status.base.sha256):
            return self._look_again()
        return Decision(self._upload(update))

    def _accepted(self, receipt: UpdateReceipt, sent: SavedUpdate | None) -> Decision:
        pair = receipt.round, receipt.attempt
        if sent is None or receipt.round != sent.round or pair < self._newest:
            return self._look_again()
        self._advance(pair)
        self._promise = pair
        self._nothing_left = max(self._nothing_left, pair)
        same = receipt.sha256 == sent.sha256
        detail = "the update counts" if same else f"an earlier update of this client counts: {receipt.sha256}"
        return Decision(self._look_again().step, (Tell("counted", sent, receipt.attempt, detail),))

    def _refused(self, problem: Problem, sent: SavedUpdate | None) -> Decision:
        now = _pair_of(problem)
        if isinstance(problem, RoundOver | RoundNotOpen | NotSelected | WeightLimit):
            if now is None or now >= self._newest:
                self._give_way(problem, now)
            return self._look_again()
        if isinstance(problem, NotFound) and self._status is not None and sent is None:
            return self._look_again()  # the model, asked of a worker that does not know yet that it is published
        hopeless = sent is not None and status_of(problem) in (413, 422) and not isinstance(problem, DigestMismatch)
        if not hopeless or sent is None:
            return Decision(Stop(problem.detail, ok=False))
        # It would be refused in the same words for ever: a restart with other settings must be able to train anew.
        del self._saved[sent.key]
        return Decision(Stop(problem.detail, ok=False), (Discard(sent),))

    def _give_way(self, problem: Problem, now: Pair | None) -> None:
        """Note a 409: where it closes the round to this client, nothing is left to do in that attempt."""
        if self._status is not None and not isinstance(problem, RoundNotOpen):
            here = now is not None and now[0] == self._status.round
            closed = now if here and now is not None else self._status.pair
            self._nothing_left = max(self._nothing_left, closed)
        if now is not None:
            self._advance(now)

    def _advance(self, pair: Pair) -> None:
        self._newest = max(self._newest, pair)
        if self._promise is not None and self._promise[0] == pair[0] and self._promise < pair:
            self._promise = None

    def _look_again(self) -> Decision:
        return Decision(Poll(_FIRST_PACE if self._status is None else self._status.poll_after))


def status_of(problem: Problem) -> int:
    """Return the HTTP status a problem came with, or its class's."""
    status = problem.members.get("status", problem.status)
    return status if isinstance(status, int) else problem.status


def is_transient(problem: Problem) -> bool:
    """Return whether sending the same again may succeed: too many requests, or the server's own trouble."""
    return status_of(problem) == 429 or status_of(problem) >= 500


def _kept(update: SavedUpdate) -> str:
    return f"the update of round {update.round} stays on disk, and the next start sends it if its round is still open"


def _pair_of(problem: Problem) -> Pair | None:
    number, attempt = problem.members.get("round"), problem.members.get("attempt")
    if isinstance(number, int) and isinstance(attempt, int):
        return number, attempt
    return None
