from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from fedtier_cli.display import LineDisplay, LiveDisplay
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.progress import Picture, Progress
from tests.client.federation import make_status

MODEL = {"line": np.zeros(2, np.float32)}


def progress_at_round(number: int) -> Progress:
    progress = Progress(["client-0", "client-1", "client-2"], last_round=5, threshold=3, now=10.0)
    progress.see_status(make_status(MODEL, number=number), 20.0)
    return progress


def test_who_was_told_to_count_is_not_missing() -> None:
    progress = progress_at_round(2)
    progress.see_fact({"event": "training", "client_id": "client-2", "round": 2, "attempt": 1})
    progress.see_fact({"event": "counted", "client_id": "client-1", "round": 2, "attempt": 1})
    picture = progress.picture()
    assert picture.missing == ("client-0", "client-2")
    assert picture.training == ("client-2",)


def test_everybody_is_missing_in_a_new_round() -> None:
    progress = progress_at_round(2)
    progress.see_fact({"event": "counted", "client_id": "client-1", "round": 2, "attempt": 1})
    progress.see_status(make_status(MODEL, number=3), 31.0)
    picture = progress.picture()
    assert picture.missing == ("client-0", "client-1", "client-2")
    assert picture.since == 31.0


def test_a_client_that_is_ahead_of_the_last_look_is_not_missing() -> None:
    progress = progress_at_round(2)
    progress.see_fact({"event": "counted", "client_id": "client-1", "round": 3, "attempt": 1})
    assert "client-1" not in progress.picture().missing


def test_only_who_is_selected_can_be_missing() -> None:
    progress = progress_at_round(2)
    progress.see_status(make_status(MODEL, number=3, cohort=("client-0", "client-2")), 31.0)
    progress.see_fact({"event": "counted", "client_id": "client-2", "round": 3, "attempt": 1})
    assert progress.picture().missing == ("client-0",)


def test_a_round_that_starts_over_misses_everybody_again() -> None:
    progress = progress_at_round(2)
    progress.see_fact({"event": "counted", "client_id": "client-1", "round": 2, "attempt": 1})
    progress.see_status(make_status(MODEL, number=2, attempt=2), 31.0)
    assert progress.picture().missing == ("client-0", "client-1", "client-2")
    assert progress.picture().counted == 0


def test_who_was_told_to_count_is_counted_before_the_master_is_asked_again() -> None:
    progress = progress_at_round(2)
    for name in ("client-1", "client-2", "client-1"):
        progress.see_fact({"event": "counted", "client_id": name, "round": 2, "attempt": 1})
    progress.see_fact({"event": "counted", "client_id": "client-0", "round": 1, "attempt": 1})
    assert progress.picture().counted == 2


def test_a_round_beyond_the_last_is_not_shown_as_open() -> None:
    assert progress_at_round(5).picture().is_open
    assert not progress_at_round(6).picture().is_open


def picture(counted: int, missing: tuple[str, ...]) -> Picture:
    return Picture(
        round=2, last_round=3, counted=counted, threshold=10, training=missing[:1], missing=missing, since=100.0
    )


def test_plain_lines_say_round_counts_seconds_and_who_is_missing() -> None:
    output = io.StringIO()
    display = LineDisplay(Console(file=output), clock=lambda: 104.0)
    display.picture(picture(7, ("client-1", "client-4", "client-9")))
    assert output.getvalue() == ("round 2 of 3: 7/10 clients counted, 4 s, 3 missing: client-1, client-4, client-9\n")


def test_a_round_with_all_the_clients_it_closes_at_waits_for_nobody() -> None:
    output = io.StringIO()
    LineDisplay(Console(file=output), clock=lambda: 104.0).picture(picture(10, ("client-11",)))
    assert output.getvalue() == "round 2 of 3: 10/10 clients counted, 4 s, publishing\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_test_s_result_is_a_line_unless_it_was_known_before(terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, color_system=None, width=100)
    with LiveDisplay(console) if terminal else LineDisplay(console) as display:
        display.tested(score(1, known=True))
        display.tested(score(2, known=False))
    assert "round 1" not in output.getvalue()
    assert "round 2 tested     loss 0.0712  accuracy 97.82%" in output.getvalue()


def test_a_metric_s_name_cannot_speak_to_the_terminal() -> None:
    output = io.StringIO()
    named = RoundScore(1, {"[bold]\x1b[2J": 0.5}, clients=1, examples=1, seconds=None, sha256="0" * 64)
    display = LineDisplay(Console(file=output, force_terminal=True, color_system=None, width=100))
    display.tested(named)
    display.scores([named])
    assert "\x1b[2J" not in output.getvalue()
    assert output.getvalue().count("[bold]\\x1b[2J") == 2


def score(number: int, *, known: bool) -> RoundScore:
    metrics = {"accuracy": 0.9782, "loss": 0.0712}
    return RoundScore(number, metrics, clients=1, examples=1, seconds=None, sha256="0" * 64, known=known)


def test_plain_lines_of_one_round_come_some_seconds_apart() -> None:
    output, now = io.StringIO(), [104.0]
    display = LineDisplay(Console(file=output), clock=lambda: now[0])
    for counted, at in [(1, 104.0), (2, 104.1), (3, 108.9), (4, 109.0), (4, 120.0)]:
        now[0] = at
        display.picture(picture(counted, ("client-9",)))
    lines = output.getvalue().splitlines()
    assert [line.split(": ")[1].split("/")[0] for line in lines] == ["1", "4"]


@pytest.mark.parametrize(("missing", "shown"), [(8, "client-5 and 2 more"), (6, "client-5")])
def test_a_terminal_shows_the_open_round_and_at_most_six_names(missing: int, shown: str) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    with LiveDisplay(console, clock=lambda: 104.0) as display:
        display.picture(picture(2, tuple(f"client-{number}" for number in range(missing))))
    assert "round 2 of 3" in output.getvalue()
    assert "2/10 clients counted, 4 s" in output.getvalue()
    assert f"{missing} missing: client-0, client-1, client-2, client-3, client-4, {shown}" in output.getvalue()
