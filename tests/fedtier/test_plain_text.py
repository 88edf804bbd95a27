from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedtier.plain_text import printable, printable_lines


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


@given(st.text())
def test_no_line_within_a_text_passes_for_a_line_of_its_own(text: str) -> None:
    lines = printable_lines(text).split("\n")
    assert len(lines) == text.count("\n") + 1
    assert all(line.startswith("  ") and line.isprintable() for line in lines)
