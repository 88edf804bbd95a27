"""Names and sentences of others, made harmless for a terminal. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text with what a terminal would obey written out: ``\x1b`` for an escape character.

    Names of metrics, classes and tensors, and what a server says, are somebody else's. Line breaks, control characters,
    and characters that change the direction of writing are not shown as they are.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, such as a traceback that quotes what others sent, with each made harmless.

    They are indented, so that none of them passes for a line of its own.
    """
    return "\n".join("  " + printable(line) for line in text.split("\n"))
