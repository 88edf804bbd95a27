"""Which server a command asks, and what is said where that server refuses or is away."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from fedtier.flags import require_address
from fedtier.plain_text import printable
from fedtier.problems import Forbidden, MethodNotAllowed, NotFound, Problem, StartupError, Unauthenticated
from fedtier.tls import NO_TLS, Tls, tls_flags
from fedtier.token_sources import TokenPlace, TokenSource, single_token, token_place
from fedtier.upstream import NotTrusted, Timeouts, Unreachable, Upstream
from fedtier_cli.local_keys import operator_token
from fedtier_cli.published import local_run
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.site_record import recorded_site
from fedtier_cli.workplace import keep_to_this_machine

_TIMEOUTS: Final = Timeouts(connect=5.0, read=15.0)
_HOW_TO_SIGN: Final = "fedtier token --role {role} --subject NAME signs one for FEDTIER_TOKEN or FEDTIER_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and where the token for it is.

    Parameters
    ----------
    url : str
    token : TokenPlace or None
        None where this program has none.
    tls : Tls
        Whom to believe, and what to show.
    """

    url: str
    token: TokenPlace | None = field(repr=False)
    tls: Tls = NO_TLS

    def source(self) -> TokenSource | None:
        """Return the source of the token.

        Raises
        ------
        StartupError
        """
        return single_token(self.token, warn=lambda sentence: click.echo(f"Warning: {sentence}", err=True))


def server_flag(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--server``, and what it takes to trust it: see `fedtier.tls.tls_flags`."""
    return click.option("--server", metavar="URL", help="Address of the master; a worker can be asked to read.")(
        tls_flags(function)
    )


def server_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--server`` and ``--run-dir``: a server that is named, or the master of a local run."""
    run_dir = click.option(
        "--run-dir",
        type=click.Path(path_type=Path),
        help="Of a local run, whose master is asked. [default: the only one under runs, unless a server is named]",
    )
    return server_flag(run_dir(function))


def chosen_server(
    server: str | None,
    run_dir: Path | None,
    environment: Mapping[str, str] = os.environ,
    *,
    tls: Tls = NO_TLS,
    operates: bool = False,
) -> Server:
    """Return the server that the flags name.

    The token is the one of this program's environment, or else the operator's of a run.

    Parameters
    ----------
    server : str or None
    run_dir : Path or None
    environment : Mapping of str to str
    tls : Tls
    operates : bool
        Whether it has to be the master: workers answer questions, and take no orders.

    Raises
    ------
    StartupError
        They name none, or it is no address.
    """
    if server is not None:
        require_address(server, "--server", plain_http=tls.plain_http)
        return Server(server, token_place(environment), tls)
    run, federation = local_run(run_dir, environment)
    if not federation.master:
        raise StartupError(f"{run.path} does not say where its master is; name the server by --server URL")
    if recorded_site(run) is None:
        keep_to_this_machine(os.environ)
    return running_master(run, federation, environment, tls=tls, operates=operates)


def running_master(
    run: RunDirectory,
    federation: Federation,
    environment: Mapping[str, str] = os.environ,
    *,
    tls: Tls = NO_TLS,
    operates: bool = False,
) -> Server:
    """Return the server that a run asks, with the token of its operator unless the environment has another."""
    site = recorded_site(run)
    if site is None:
        return Server(federation.master, token_place(environment) or operator_token(run))
    token = token_place(environment) or TokenPlace(file=site.operator_token_file)
    believing = tls if tls.ca_certs is not None else replace(tls, ca_certs=site.ca_certs)
    return Server(site.master_url if operates else federation.master, token, believing)


@contextmanager
def asked(server: Server, *, role: str = "client") -> Iterator[Upstream]:
    """Give a connection to a server, with a token for it; what it refuses becomes a sentence.

    Parameters
    ----------
    server : Server
    role : str
        That the server wants of a token.

    Raises
    ------
    StartupError
        The server is away, or refuses.
    """
    try:
        with Upstream(server.url, token=server.source(), tls=server.tls, timeouts=_TIMEOUTS) as upstream:
            yield upstream
    except NotTrusted as error:
        raise StartupError(str(error)) from None
    except Unreachable as error:
        raise StartupError(f"{error}; start the server, or name another by --server") from None
    except Problem as problem:
        raise StartupError(refusal(server, problem, role)) from None


def refusal(server: Server, problem: Problem, role: str) -> str:
    """Return what a server's refusal means for whoever called the command, as one sentence."""
    url, make_token, detail = server.url, _HOW_TO_SIGN.format(role=role), printable(problem.detail)
    if isinstance(problem, Unauthenticated) and server.token is None:
        return (
            f"{url} asks for a token, and neither FEDTIER_TOKEN nor FEDTIER_TOKEN_FILE is set; {make_token}, "
            "or name a local run by --run-dir"
        )
    if isinstance(problem, Unauthenticated) and server.token is not None:
        return f"{url} does not take the token in {server.token.name}: {detail}; {make_token}"
    if isinstance(problem, Forbidden):
        return f"{url} does not allow this: {detail}"
    if isinstance(problem, NotFound | MethodNotAllowed):
        return f"{url} does not have what was asked: {detail}; name a fedtier master by --server"
    return f"{url} refuses: {detail}"
