"""What the commands of all tiers share: one spelling of flags, environment variables, errors without tracebacks."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Never, TypeVar
from urllib.parse import urlsplit

import click

from fedtier.claims import DEFAULT_AUDIENCE
from fedtier.problems import StartupError
from fedtier.urls import leaves_in_plain

ENVIRONMENT_PREFIX: Final = "FEDTIER"
SEED: Final = click.IntRange(0, 2**63 - 1)
"""Seeds of splits and models: what every generator of random numbers takes that we use."""
_AUDIENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
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


def gathering(
    keyword: str, flags: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]], gather: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds flags to a command, which gets what they say together as one value.

    Parameters
    ----------
    keyword : str
        By which the command gets the value.
    flags : Mapping of str to decorator
        Each flag, as `click.option` makes it, by the name of its parameter; in the order of the help.
    gather : callable
        Makes the value of what the flags say, by their names.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def together(**said: Any) -> Any:
            value = gather(**{name: said.pop(name) for name in flags})
            return function(**{keyword: value}, **said)

        decorated: Callable[..., Any] = together
        for flag in reversed(list(flags.values())):
            decorated = flag(decorated)
        return decorated

    return decorate


def json_flag(function: _Decorated) -> _Decorated:
    """Add ``--json``: facts as JSON lines on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, envvar=f"{ENVIRONMENT_PREFIX}_JSON", help="Print facts as JSON lines."
    )(function)


def stopped_status_flag(function: _Decorated) -> _Decorated:
    """Add ``--stopped-status``."""
    return click.option(
        "--stopped-status",
        type=click.IntRange(min=0, max=255),
        default=0,
        help="Exit status where SIGTERM comes before the end; a scheduler that takes 0 for done needs another.",
    )(function)


def audience_flag(function: _Decorated) -> _Decorated:
    """Add ``--audience``."""
    return click.option(
        "--audience",
        default=DEFAULT_AUDIENCE,
        callback=require_audience,
        help="Name of the federation; tokens for others are refused.",
    )(function)


def require_audience(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check, as the callback of a flag, that its value can be the name of a federation."""
    if not _AUDIENCE.fullmatch(value):
        raise click.BadParameter(f"{value[:140]!r} does not match {_AUDIENCE.pattern}")
    return value


def require_address(url: str, flag: str, *, plain_http: bool) -> None:
    """Check that a flag's value is the address of a server.

    Parameters
    ----------
    url, flag : str
    plain_http : bool
        Whether it may be plain HTTP to another machine.

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
            "write it as http://host:port or https://host:port, and set FEDTIER_TOKEN to say who asks"
        )
    if not (good and plain):
        raise StartupError(
            f"{flag} {url.partition('?')[0]!r} is no address; write it as http://host:port or https://host:port"
        )
    if leaves_in_plain(url) and not plain_http:
        raise StartupError(
            f"{flag} {url} is plain HTTP to another machine, and everybody on the way could read token and model; "
            "write https://, or give --plain-http where the network between is trusted"
        )


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
