from __future__ import annotations

import io
import json
from typing import Any

import pytest
import structlog

from fedtier.logs import NAMES_SHOWN, named, processors

ESCAPES = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnp.exe\r\n2026-01-01 [info] all is well"
"""Clears a screen, renames its window, colours, turns the writing around, and adds a line."""


def lines_of(*, terminal: bool, **facts: Any) -> str:
    """Return what is written of an event, and of an exception that names what a sender wrote."""
    output = io.StringIO()
    log = structlog.wrap_logger(structlog.PrintLogger(output), processors=processors("worker", terminal=terminal))
    log.warning("requests refused", **facts)
    try:
        raise ValueError(ESCAPES)
    except ValueError:
        log.exception("failed")
    return output.getvalue()


def without_our_colours(text: str) -> str:
    for colour in range(110):
        text = text.replace(f"\x1b[{colour}m", "")
    return text


@pytest.mark.parametrize("value", [ESCAPES, [ESCAPES], {"path": ESCAPES}, ESCAPES.encode(), ValueError(ESCAPES)])
def test_a_terminal_obeys_nothing_that_others_sent(value: Any) -> None:
    shown = without_our_colours(lines_of(terminal=True, example=value))
    assert [one for one in shown if not one.isprintable() and one != "\n"] == []
    assert "x1b[2J" in shown  # written out, and not left out
    assert not any(line.startswith("2026-01-01 [info]") for line in shown.splitlines())


@pytest.mark.parametrize("value", [ESCAPES, [ESCAPES], {"path": ESCAPES}])
def test_a_line_of_json_stays_one_line_of_ascii(value: Any) -> None:
    written = lines_of(terminal=False, example=value)
    assert written.isascii()
    first, second = map(json.loads, written.splitlines())
    assert first["example"] == value
    assert first["program"] == second["program"] == "worker"
    assert second["exception"][0]["exc_value"] == ESCAPES


def test_a_line_names_some_clients_and_counts_all() -> None:
    ids = [f"client-{number:04d}" for number in reversed(range(1000))]
    assert named(ids) == {"clients": sorted(ids)[:NAMES_SHOWN], "contributors": 1000}
