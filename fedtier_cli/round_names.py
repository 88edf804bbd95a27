"""How a published round is named on a command line: by its number, or as the last."""

from __future__ import annotations

from typing import Final

import click

LAST: Final = "last"


def round_name(ctx: click.Context, param: click.Parameter, text: str | None) -> int | str | None:
    """Return a number from 0, or `LAST`; refuse anything else as click does."""
    if text is None or text == LAST:
        return text
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise click.BadParameter(f"{text!r} is neither the number of a round nor {LAST}.", ctx, param)
    return int(text)
