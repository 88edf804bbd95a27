"""Which server a command asks, and what is said where that server refuses or is away."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fedtier.flags import bearer_token, require_address
from fedtier.plain_text import printable
from fedtier.problems import Forbidden, MethodNotAllowed, NotFound, Problem, StartupError, Unauthenticated
from fedtier.upstream import Timeouts, Unreachable, Upstream
from fedtier_cli.published import local_run
from fedtier_cli.workplace import keep_to_this_machine

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_TIMEOUTS: Final = Timeouts(connect=5.0, read=15.0)
_HOW_TO_SIGN: Final = "set FEDTIER_TOKEN to what fedtier token --role {role} --subject NAME prints"


def server_flag(function: _Decorated) -> _Decorated:
    """Add ``--server``."""
    return click.option("--server", metavar="URL", help="Address of the master, or of a worker that only reads.")(
        function
    )


def server_flags(function: _Decorated) -> _Decorated:
    """Add ``--server`` and ``--run-dir``: a server that is named, or the master of a local run."""
    run_dir = click.option(
        "--run-dir",
        type=click.Path(path_type=Path),
        help="Of a local run, whose master is asked. [default: the only one under runs, unless a server is named]",
    )
    return server_flag(run_dir(function))


def server_address(server: str | None, run_dir: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the address of the server that the flags name.

    Raises
    ------
    StartupError
        They name none, or it is no address.
    """
    if server is not None:
        require_address(server, "--server")
        return server
    run, federation = local_run(run_dir, environment)
    if not federation.master:
        raise StartupError(f"{run.path} does not say where its master is; name the server by --server URL")
    keep_to_this_machine(os.environ)
    return federation.master


@contextmanager
def asked(url: str, *, role: str = "client") -> Iterator[Upstream]:
    """Give a connection to a server, with this program's token; what it refuses becomes a sentence.

    Parameters
    ----------
    url : str
    role : str
        That the server wants of a token.

    Raises
    ------
    StartupError
        The server is away, or refuses.
    """
    try:
        with Upstream(url, token=bearer_token(), timeouts=_TIMEOUTS) as upstream:
            yield upstream
    except Unreachable as error:
        raise StartupError(f"{error}; start the server, or name another by --server") from None
    except Problem as problem:
        raise StartupError(refusal(url, problem, role)) from None


def refusal(url: str, problem: Problem, role: str) -> str:
    """Return what a server's refusal means for whoever called the command, as one sentence."""
    make_token, detail = _HOW_TO_SIGN.format(role=role), printable(problem.detail)
    if isinstance(problem, Unauthenticated) and bearer_token() is None:
        return f"{url} asks for a token, and FEDTIER_TOKEN is not set; {make_token}"
    if isinstance(problem, Unauthenticated):
        return f"{url} does not take the token in FEDTIER_TOKEN: {detail}; {make_token}"
    if isinstance(problem, Forbidden):
        return f"{url} does not allow this: {detail}; {make_token}"
    if isinstance(problem, NotFound | MethodNotAllowed):
        return f"{url} does not have what was asked: {detail}; name a fedtier master by --server"
    return f"{url} refuses: {detail}"
