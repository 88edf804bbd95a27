"""Where a command prints for people."""

from __future__ import annotations

from typing import Final

from rich.console import Console

_UNLIMITED: Final = 10_000
"""Columns; rich wants a number."""


def screen() -> Console:
    """Return a console on standard output, as wide as the terminal; without one, every line is printed whole."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console
