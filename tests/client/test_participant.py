from __future__ import annotations

import numpy as np
import pytest

from client.events import (
    Accepted,
    Decision,
    Discard,
    Failed,
    FetchModel,
    ModelReady,
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
from client.participant import Participant
from fedtier.problems import (
    BadRequest,
    DigestMismatch,
    Forbidden,
    NotFinite,
    NotFound,
    NotSelected,
    Problem,
    RoundNotOpen,
    RoundOver,
    TooLarge,
    Unauthenticated,
    WeightLimit,
)
from fedtier.rounds import RoundStatus, State, UpdateReceipt
from tests.client.federation import make_status


def status(
    number: int = 7, attempt: int = 12, state: State = "collecting", cohort: tuple[str, ...] | None = None
) -> RoundStatus:
    """Each round has a base model of its own."""
    return make_status(
        {"w": np.full(2, number, np.float32)}, number=number, attempt=attempt, state=state, cohort=cohort
    )


def update_for(seen: RoundStatus, sha256: str = "a" * 64) -> SavedUpdate:
    return SavedUpdate(seen.round, seen.base.sha256, sha256, 600, {"loss": 0.5})


def receipt(seen: RoundStatus, sha256: str = "a" * 64) -> Accepted:
    return Accepted(UpdateReceipt(round=seen.round, attempt=seen.attempt, client_id="client-3", sha256=sha256))


def uploading(participant: Participant, seen: RoundStatus) -> SavedUpdate:
    """Bring a participant to where it sends its update of the round."""
    update = update_for(seen)
    participant.handle_event(RoundSeen(seen))
    participant.handle_event(ModelReady(seen.base))
    assert participant.handle_event(Trained(update)).step == Upload(update)
    return update


def counted(participant: Participant, seen: RoundStatus) -> SavedUpdate:
    update = uploading(participant, seen)
    participant.handle_event(receipt(seen))
    return update


def test_a_round_is_fetched_trained_uploaded_and_then_waited_for() -> None:
    participant, seen = Participant("client-3"), status()
    update = update_for(seen)

    assert participant.handle_event(RoundSeen(seen)) == Decision(FetchModel(seen.base))
    assert participant.handle_event(ModelReady(seen.base)) == Decision(Train(seen))
    assert participant.handle_event(Trained(update)) == Decision(Upload(update))
    decision = participant.handle_event(receipt(seen))
    assert decision.step == Poll(seen.poll_after)
    assert decision.notes == (Tell("counted", update, 12, "the update counts"),)
    assert participant.handle_event(RoundSeen(seen)) == Decision(Poll(seen.poll_after))


def test_the_next_round_settles_the_update_of_the_last() -> None:
    participant = Participant("client-3")
    update = counted(participant, status(7, 12))
    following = status(8, 13)

    assert participant.handle_event(RoundSeen(following)) == Decision(FetchModel(following.base), (Discard(update),))


def test_an_update_found_on_disk_is_sent_without_training() -> None:
    seen = status()
    update = update_for(seen)

    assert Participant("client-3", saved=[update]).handle_event(RoundSeen(seen)) == Decision(Upload(update))


def test_an_update_saved_for_another_federation_does_not_keep_a_client_from_taking_part() -> None:
    left_behind = update_for(status(7, 12))
    participant = Participant("client-3", saved=[left_behind])

    assert participant.handle_event(RoundSeen(status(1, 2))).step == FetchModel(status(1, 2).base)


def test_an_update_for_another_base_of_the_same_round_is_not_sent() -> None:
    seen = status()
    other = SavedUpdate(seen.round, "f" * 64, "a" * 64, 600, {})

    assert Participant("client-3", saved=[other]).handle_event(RoundSeen(seen)).step == FetchModel(seen.base)


def test_a_200_is_a_promise_for_its_attempt_only() -> None:
    participant = Participant("client-3")
    update = counted(participant, status(7, 12))

    assert participant.handle_event(RoundSeen(status(7, 13))).step == Upload(update)


@pytest.mark.parametrize("older", [(7, 11), (6, 11), (6, 13)])
def test_an_older_round_or_attempt_is_ignored(older: tuple[int, int]) -> None:
    participant = Participant("client-3")
    counted(participant, status(7, 12))

    assert participant.handle_event(RoundSeen(status(*older))) == Decision(Poll(0.01))


def test_a_200_of_an_older_attempt_promises_nothing() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    assert participant.handle_event(receipt(status(7, 11))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))).step == Upload(update)


def test_a_200_for_another_round_promises_nothing() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    assert participant.handle_event(receipt(status(8, 13))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))).step == Upload(update)


def test_a_model_or_an_update_of_another_round_leads_to_another_look() -> None:
    participant = Participant("client-3")
    participant.handle_event(RoundSeen(status(8, 13)))

    assert participant.handle_event(ModelReady(status(7, 12).base)) == Decision(Poll(0.01))
    assert participant.handle_event(Trained(update_for(status(7, 12)))) == Decision(Poll(0.01))


def test_a_round_that_starts_over_after_the_200_takes_the_promise_back() -> None:
    participant = Participant("client-3")
    update = counted(participant, status(7, 12))
    participant.handle_event(RoundSeen(status(7, 13, "publishing")))

    notes = participant.handle_event(RoundSeen(status(8, 14))).notes

    assert [type(note) for note in notes] == [Tell, Discard]
    assert isinstance(notes[0], Tell)
    assert (notes[0].event, notes[0].update) == ("round-over", update)


def test_a_receipt_for_an_earlier_update_of_this_client_is_told() -> None:
    participant, seen = Participant("client-3"), status()
    uploading(participant, seen)

    (note,) = participant.handle_event(receipt(seen, sha256="b" * 64)).notes

    assert isinstance(note, Tell)
    assert note.event == "counted"
    assert "b" * 64 in note.detail


@pytest.mark.parametrize("kind", [RoundOver, NotSelected, WeightLimit])
def test_a_409_that_closes_the_round_to_the_client_makes_it_wait_for_the_next(kind: type[Problem]) -> None:
    participant, seen = Participant("client-3"), status()
    update = uploading(participant, seen)

    assert participant.handle_event(Refused(kind("no", round=7, attempt=12))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(seen)) == Decision(Poll(0.01))
    following = participant.handle_event(RoundSeen(status(8, 13)))
    assert following.step == FetchModel(status(8, 13).base)
    assert Discard(update) in following.notes


def test_an_update_survives_round_over_until_a_later_round_is_seen() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    assert participant.handle_event(Refused(RoundOver("over", round=7, attempt=12))).notes == ()
    assert participant.handle_event(RoundSeen(status(7, 13))).step == Upload(update)


def test_a_round_that_closed_without_a_200_is_told() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))
    participant.handle_event(Refused(RoundOver("over", round=8, attempt=13)))

    told, discarded = participant.handle_event(RoundSeen(status(8, 13))).notes

    assert isinstance(told, Tell)
    assert (told.event, told.update) == ("round-over", update)
    assert discarded == Discard(update)


def test_a_409_says_that_rounds_before_it_are_over() -> None:
    participant = Participant("client-3")
    uploading(participant, status(7, 12))
    participant.handle_event(Refused(RoundOver("over", round=8, attempt=13)))

    assert participant.handle_event(RoundSeen(status(7, 12))).step == Poll(0.01)


def test_a_409_of_a_newer_attempt_closes_that_attempt_too() -> None:
    participant = Participant("client-3")
    uploading(participant, status(7, 12))

    participant.handle_event(Refused(RoundOver("over", round=7, attempt=13)))

    assert participant.handle_event(RoundSeen(status(7, 13))).step == Poll(0.01)


def test_a_409_of_a_newer_attempt_makes_what_a_server_that_lags_says_old() -> None:
    participant = Participant("client-3")
    uploading(participant, status(7, 12))

    participant.handle_event(Refused(RoundNotOpen("soon", round=7, attempt=13)))

    assert participant.handle_event(RoundSeen(status(7, 12))).step == Poll(0.01)


def test_a_409_of_an_older_attempt_is_ignored() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    participant.handle_event(Refused(RoundOver("over", round=6, attempt=11)))

    assert participant.handle_event(RoundSeen(status(7, 12))).step == Upload(update)


def test_a_round_not_open_yet_is_asked_for_again_and_the_update_kept() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    assert participant.handle_event(Refused(RoundNotOpen("soon", round=7, attempt=12))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))).step == Upload(update)


KEPT = "the update of round 7 stays on disk, and the next start sends it if its round is still open"


def test_an_upload_put_off_until_there_is_no_time_left_stops_the_client_and_keeps_the_update() -> None:
    participant = Participant("client-3")
    uploading(participant, status(7, 12))

    assert participant.handle_event(PutOff("full")) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))) == Decision(Stop(f"full; {KEPT}", ok=False))


def test_a_paused_round_is_waited_for_however_long_an_upload_was_put_off() -> None:
    participant = Participant("client-3")
    update = uploading(participant, status(7, 12))

    participant.handle_event(PutOff("the operator paused the round"))

    assert participant.handle_event(RoundSeen(status(7, 12, "paused"))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))).step == Upload(update)


@pytest.mark.parametrize("now", [(7, 13), (8, 14)])
def test_what_was_put_off_in_another_round_or_attempt_does_not_stop_the_client(now: tuple[int, int]) -> None:
    participant = Participant("client-3")
    uploading(participant, status(7, 12))

    participant.handle_event(PutOff("full"))

    assert not isinstance(participant.handle_event(RoundSeen(status(*now))).step, Stop | Poll)


def test_a_question_put_off_until_there_is_no_time_left_stops_the_client() -> None:
    assert Participant("client-3").handle_event(PutOff("busy")) == Decision(Stop("busy", ok=False))


@pytest.mark.parametrize("kind", [Unauthenticated, Forbidden, BadRequest, DigestMismatch])
def test_a_refusal_that_no_retry_can_help_stops_the_client_and_keeps_the_update(kind: type[Problem]) -> None:
    participant = Participant("client-3")
    uploading(participant, status())

    assert participant.handle_event(Refused(kind("why"))) == Decision(Stop("why", ok=False))


@pytest.mark.parametrize("kind", [NotFinite, TooLarge])
def test_an_update_that_can_never_be_taken_is_not_kept_for_the_next_start(kind: type[Problem]) -> None:
    participant = Participant("client-3")
    update = uploading(participant, status())

    assert participant.handle_event(Refused(kind("why"))) == Decision(Stop("why", ok=False), (Discard(update),))
    assert participant.handle_event(RoundSeen(status())).step == FetchModel(status().base)


def test_a_model_that_a_lagging_server_does_not_know_yet_is_asked_for_again() -> None:
    participant = Participant("client-3")
    assert participant.handle_event(RoundSeen(status(7, 12))).step == FetchModel(status(7, 12).base)
    assert participant.handle_event(Refused(NotFound("round 6 is not published"))) == Decision(Poll(0.01))
    assert participant.handle_event(RoundSeen(status(7, 12))).step == FetchModel(status(7, 12).base)


def test_a_server_that_is_gone_stops_the_client() -> None:
    participant = Participant("client-3")
    uploading(participant, status())

    assert participant.handle_event(Failed("nobody there")) == Decision(Stop(f"nobody there; {KEPT}", ok=False))


def test_an_update_that_the_disk_lost_is_not_said_to_be_sent_later() -> None:
    participant = Participant("client-3")
    uploading(participant, status())

    assert participant.handle_event(Failed("no disk", lost=True)) == Decision(Stop("no disk", ok=False))


def test_a_client_told_to_stop_says_what_it_leaves_on_disk() -> None:
    new, training, waiting, done, settled = (Participant("client-3") for _ in range(5))
    training.handle_event(RoundSeen(status(7, 12)))
    uploading(waiting, status(7, 12))
    counted(done, status(7, 12))
    counted(settled, status(7, 12))
    settled.handle_event(RoundSeen(status(8, 13)))

    told = [client.handle_event(StopAsked()) for client in (new, training, waiting, done, settled)]

    nothing = "told to stop; no update waits to be sent"
    reasons = [nothing, nothing, f"told to stop; {KEPT}", "told to stop; the update of round 7 counts", nothing]
    assert told == [Decision(Stop(reason, ok=True)) for reason in reasons]


def test_a_client_told_to_stop_before_its_first_look_knows_of_what_it_found_on_disk() -> None:
    participant = Participant("client-3", saved=[update_for(status(7, 12))])

    assert participant.handle_event(StopAsked()) == Decision(Stop(f"told to stop; {KEPT}", ok=True))


@pytest.mark.parametrize("state", ["publishing", "paused"])
def test_a_round_that_takes_nothing_is_waited_for(state: State) -> None:
    assert Participant("client-3").handle_event(RoundSeen(status(state=state))) == Decision(Poll(0.01))


def test_a_client_outside_the_cohort_waits() -> None:
    participant = Participant("client-3")

    assert participant.handle_event(RoundSeen(status(cohort=("client-1", "client-2")))).step == Poll(0.01)
    chosen = status(8, 13, cohort=("client-3",))
    assert participant.handle_event(RoundSeen(chosen)).step == FetchModel(chosen.base)


def test_a_finished_federation_ends_the_client_well() -> None:
    step = Participant("client-3").handle_event(RoundSeen(status(state="finished"))).step

    assert step == Stop("the federation finished with round 6", ok=True)


@pytest.mark.parametrize(
    ("last_round", "step"),
    [
        (5, Stop("round 5 is published already", ok=True)),
        (6, Stop("round 6 is published already", ok=True)),
        (7, FetchModel(status().base)),
    ],
)
def test_rounds_names_the_last_round_to_reach_not_an_increment(last_round: int, step: Step) -> None:
    assert Participant("client-3", last_round=last_round).handle_event(RoundSeen(status(7, 12))).step == step


def test_the_last_round_settles_the_update_before_the_client_ends() -> None:
    participant = Participant("client-3", last_round=7)
    update = counted(participant, status(7, 12))

    decision = participant.handle_event(RoundSeen(status(8, 13)))

    assert decision == Decision(Stop("round 7 is published", ok=True), (Discard(update),))
