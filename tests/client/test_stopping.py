"""What is broken off when a client is told to stop, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from client.events import FetchModel, SavedUpdate, Step, Train, Upload
from client.stopping import BrokenOff, Patience, Stopping, patience_with
from tests.client.federation import make_status

STATUS = make_status({})
UPDATE = SavedUpdate(1, "b" * 64, "a" * 64, 600, {})


def told(stopping: Stopping, *, grace_is_over: bool = False) -> Callable[[], str]:
    """Return work in whose midst the client is told to stop."""

    def work() -> str:
        if grace_is_over:
            stopping.end_grace()
        stopping.ask()
        return "done"

    return work


@pytest.mark.parametrize(
    ("step", "patience"),
    [(Upload(UPDATE), Patience.GRACE), (Train(STATUS), Patience.NONE), (FetchModel(STATUS.base), Patience.NONE)],
)
def test_only_an_upload_has_a_grace(step: Step, patience: Patience) -> None:
    assert patience_with(step) is patience


def test_nobody_told_a_client_to_stop_that_goes_on() -> None:
    stopping = Stopping()
    assert [stopping.breakable(patience, lambda: "done") for patience in Patience] == ["done", "done"]
    assert not stopping.asked


def test_what_has_no_grace_is_broken_off_at_once() -> None:
    stopping = Stopping()
    with pytest.raises(BrokenOff):
        stopping.breakable(Patience.NONE, told(stopping))
    assert stopping.asked


def test_an_upload_goes_on_however_often_the_client_is_told() -> None:
    stopping = Stopping()

    def work() -> str:
        stopping.ask()
        return told(stopping)()

    assert stopping.breakable(Patience.GRACE, work) == "done"


def test_an_upload_is_broken_off_when_its_grace_is_over() -> None:
    stopping = Stopping()
    with pytest.raises(BrokenOff):
        stopping.breakable(Patience.GRACE, told(stopping, grace_is_over=True))


def test_what_is_not_breakable_is_done_to_its_end() -> None:
    stopping = Stopping()
    assert told(stopping, grace_is_over=True)() == "done"


@pytest.mark.parametrize("patience", Patience)
def test_what_may_be_broken_off_is_told_from_what_may_not(patience: Patience) -> None:
    stopping = Stopping()
    assert not stopping.breaks_off
    assert stopping.breakable(patience, lambda: stopping.breaks_off)
    assert not stopping.breaks_off
    with pytest.raises(BrokenOff):
        stopping.breakable(patience, told(stopping, grace_is_over=True))
    assert not stopping.breaks_off


@pytest.mark.parametrize("patience", Patience)
def test_a_client_that_was_told_to_stop_begins_nothing_more(patience: Patience) -> None:
    stopping = Stopping()
    begun: list[str] = []
    stopping.ask()
    with pytest.raises(BrokenOff):
        stopping.breakable(patience, lambda: begun.append("work"))
    assert begun == []


def test_a_training_that_takes_no_notice_has_no_result() -> None:
    stopping = Stopping()

    def swallowing() -> str:
        try:
            return told(stopping)()
        except BaseException:
            return "half a training"

    def failing() -> str:
        try:
            return told(stopping)()
        except BaseException as error:
            raise RuntimeError("the training was disturbed") from error

    for work in (swallowing, failing):
        stopping.asked = False
        with pytest.raises(BrokenOff):
            stopping.breakable(Patience.NONE, work)
