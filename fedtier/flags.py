"""What the commands of all tiers share: one spelling of flags, environment variables, errors without tracebacks."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Never, TypeVar
from urllib.parse import urlsplit

import click

from fedtier.problems import StartupError

ENVIRONMENT_PREFIX: Final = "FEDTIER"
SEED: Final = click.IntRange(0, 2**63 - 1)
"""Seeds of splits and models: what every generator of random numbers takes that we use."""
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class Command(click.Command):
    """A command that ends with one sentence, and status 1, where it cannot start."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except StartupError as error:
            fail(str(error))


class FiniteRange(click.FloatRange):
    """Floats between bounds, without NaN and infinity, which compare their way past them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or refuse it as click does."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def fail(sentence: str) -> Never:
    """End the program with a sentence on standard error and status 1."""
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(1)


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command whose flags take hyphens or underscores and have variables ``FEDTIER_<FLAG>``."""
    settings = {
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "show_default": True,
        "max_content_width": 120,
    }
    return click.command(name, cls=Command, context_settings=settings)


def json_flag(function: _Decorated) -> _Decorated:
    """Add ``--json``: facts as JSON lines on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, envvar=f"{ENVIRONMENT_PREFIX}_JSON", help="Print facts as JSON lines."
    )(function)


def require_address(url: str, flag: str) -> None:
    """Check that a flag's value is the address of a server.

    Raises
    ------
    StartupError
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        plain = not (parts.query or parts.fragment)
    except ValueError:
        good = plain = False
    if "@" in url:  # whatever stands before it may be a password, and is not repeated
        raise StartupError(
            f"{flag} names a user before {url.rpartition('@')[2][:200]!r}, which would not be used; "
            "write it as http://host:port, and set FEDTIER_TOKEN to say who asks"
        )
    if not (good and plain):
        raise StartupError(f"{flag} {url.partition('?')[0]!r} is no address; write it as http://host:port")


def read_text(value: str, what: str, *, secret: bool = False) -> str:
    """Return text that was given itself or as the path of a file that holds it.

    Parameters
    ----------
    value : str
    what : str
        Where it was given.
    secret : bool
        Do not repeat it where it is neither: it may be the secret itself.

    Raises
    ------
    StartupError
        The file cannot be read.
    """
    if value.lstrip().startswith("-----BEGIN"):
        return value
    try:
        return Path(value).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        shown = "" if secret else f": {value[:200]!r}"
        raise StartupError(f"{what} is neither a PEM text nor a readable file{shown} ({reason})") from None


def bearer_token() -> str | None:
    """Return what this program presents to the server above it, from ``FEDTIER_TOKEN``.

    It has no flag: flags show in the list of processes.
    """
    return os.environ.get("FEDTIER_TOKEN", "").strip() or None
