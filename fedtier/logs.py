"""Structured log lines on standard error: JSON for machines, aligned text on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from io import StringIO
from typing import Any, Final, TextIO

import structlog

from fedtier.plain_text import printable, printable_lines

NAMES_SHOWN: Final = 20
"""Clients that one line names; 1,000 in a round are 1,000 names, and not as many lines."""


def configure_logging(program: str, *, level: int = logging.INFO) -> None:
    """Set up `structlog` for this process.

    Parameters
    ----------
    program : str
        ``master``, ``worker`` or ``client``; stands in every line.
    level : int
        Of the standard `logging` module.
    """
    # Its warnings name whole URLs, which may be presigned; what they say comes as an exception too.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=processors(program, terminal=sys.stderr.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def processors(program: str, *, terminal: bool) -> list[structlog.typing.Processor]:
    """Return what makes a line of an event.

    Parameters
    ----------
    program : str
    terminal : bool
        Text for people, in which nothing of what others sent is obeyed by a terminal; else JSON, which escapes it.
    """

    def name_program(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("program", program)
        return event

    ends: list[structlog.typing.Processor] = [_tracebacks(), structlog.processors.JSONRenderer()]
    if terminal:
        ends = [_make_printable, structlog.dev.ConsoleRenderer(exception_formatter=_printable_traceback)]
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_program,
        *ends,
    ]


def named(client_ids: Iterable[str]) -> dict[str, Any]:
    """Return how a line names clients: the first `NAMES_SHOWN` of them in order, and how many there are."""
    ordered = sorted(client_ids)
    return {"clients": ordered[:NAMES_SHOWN], "contributors": len(ordered)}


def _make_printable(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Write out what a terminal would obey; all that is no text is shown by its `repr`, which does so."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _printable_traceback(output: TextIO, exc_info: Any) -> None:
    """Write a traceback, which may quote what others sent."""
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    output.write(printable_lines(text.getvalue()))


def _tracebacks() -> structlog.typing.Processor:
    """Return what writes exceptions without the values of variables, which may be tokens."""
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transform)
