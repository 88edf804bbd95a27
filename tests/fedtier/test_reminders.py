from __future__ import annotations

from fedtier.reminders import Reminder, trouble_reminder


def said(reminder: Reminder, until: int) -> list[int]:
    return [second for second in range(until + 1) if reminder.due(second)]


def test_what_lasts_is_said_ever_less_often() -> None:
    assert said(Reminder(first=10, pause=10, longest=40), 200) == [10, 20, 40, 80, 120, 160, 200]


def test_trouble_is_said_at_once_and_nine_times_in_half_an_hour() -> None:
    lines = said(trouble_reminder(), 1800)
    assert lines[:3] == [0, 5, 15]
    assert len(lines) == 9


def test_who_looks_late_says_it_once() -> None:
    reminder = Reminder(first=1, pause=1, longest=1)
    assert reminder.due(1000)
    assert not reminder.due(1000.5)
    assert reminder.due(1001)
