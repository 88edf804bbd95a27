"""Structured log lines on standard error: JSON for machines, aligned text on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure_logging(program: str, *, level: int = logging.INFO) -> None:
    """Set up `structlog` for this process.

    Parameters
    ----------
    program : str
        ``master``, ``worker`` or ``client``; stands in every line.
    level : int
        Of the standard `logging` module.
    """
    terminal = sys.stderr.isatty()
    # Its warnings name whole URLs, which may be presigned; what they say comes as an exception too.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)

    def name_program(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("program", program)
        return event

    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_program,
            *([] if terminal else [_tracebacks()]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _tracebacks() -> structlog.typing.Processor:
    """Return what writes exceptions without the values of variables, which may be tokens."""
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transform)
