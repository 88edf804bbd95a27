"""The flags that every aggregator has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fedtier.flags import audience_flag
from fedtier.serving.front.limits import DEFAULT_MIN_RATE
from fedtier.serving.shell import SPARE_THREADS

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def server_flags(*, port: int) -> Callable[[_Decorated], _Decorated]:
    """Add ``--host --port --threads --spool-max --grace --min-rate --require-client-certs --revoked --audience``."""
    options = [
        click.option(
            "--host", default="127.0.0.1", help="Address to listen on; beyond loopback only with verify keys and TLS."
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=port, help="Port to listen on; 0 takes a free one."
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=SPARE_THREADS + 1),
            default=72,
            help=f"Requests served at once; all but {SPARE_THREADS} may be uploads.",
        ),
        click.option(
            "--spool-max",
            type=click.IntRange(min=1),
            help="Bytes that bodies may take on the disk until they are counted. [default: half of the disk]",
        ),
        click.option("--grace", type=click.IntRange(min=0), default=30, help="Seconds for open requests at SIGTERM."),
        click.option(
            "--min-rate",
            type=click.IntRange(min=0),
            default=DEFAULT_MIN_RATE,
            help="Bytes per second below which uploads and downloads are cut off; 0 for never.",
        ),
        click.option(
            "--require-client-certs",
            is_flag=True,
            help="Take a token only with a certificate, signed by one of --ca-certs, that names the token's subject.",
        ),
        click.option(
            "--revoked",
            type=click.Path(path_type=Path),
            help="File of subjects whose tokens are refused; read again when it changes.",
        ),
    ]

    def add(function: _Decorated) -> _Decorated:
        for option in reversed(options):
            function = option(function)
        return audience_flag(function)

    return add
