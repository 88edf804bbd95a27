"""``fedtier up``: a local run without clients, which join by themselves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from client.task import BUILT_IN
from fedtier.token_sources import TOKEN_FILE
from fedtier.tokens import Bearer
from fedtier_cli.directions import Calls
from fedtier_cli.display import Display
from fedtier_cli.key_files import SIGNING_KEY
from fedtier_cli.local import LocalOptions, LocalRun, prepared, start_servers
from fedtier_cli.local_clients import client_name
from fedtier_cli.processes import Ended, Event
from fedtier_cli.tiers import shared_port
from fedtier_cli.training_run import Surroundings
from fedtier_cli.workplace import shown

_LOOK_SECONDS: Final = 1.0


def serve_until_interrupted(
    options: LocalOptions, port: int, surroundings: Surroundings, display: Display, calls: Calls
) -> None:
    """Start the servers and keep them.

    Parameters
    ----------
    options : LocalOptions
    port : int
        The workers'; 0 takes a free one.
    surroundings : Surroundings
    display : Display
    calls : Calls

    Raises
    ------
    StartupError
        They cannot start.
    RunFailed
        One of them ended.
    """
    with shared_port(port) as held_port, prepared(options, surroundings, display) as run:
        master_url, worker_url = start_servers(run, held_port, display, _refuse_ends)
        _sign_tokens(run)
        display.facts("serving", [*_how_to_join(run, master_url, worker_url), *calls.looking(run)])
        display.step("running until Ctrl-C")
        while True:
            event = run.children.next_event(_LOOK_SECONDS)
            if event is not None:
                _refuse_ends(event)
            run.store.require_alive()


def _refuse_ends(event: Event) -> None:
    if isinstance(event, Ended):
        raise event.child.ended(event.status)


def _sign_tokens(run: LocalRun) -> None:
    """Sign a token for each client of the run, in a file of its own."""
    for name in map(client_name, range(run.options.clients)):
        run.keys.sign(name, [Bearer("client", name)])


def _how_to_sign(run: LocalRun) -> str:
    """Return the call that signs a token of a client that the run does not know of."""
    name = client_name(run.options.clients)
    sign = ["fedtier", "token", "--role", "client", "--subject", name, "--out", shown(run.directory.token(name))]
    return f"{_set('FEDTIER_SIGNING_KEY', run.directory.keys / SIGNING_KEY)} {shlex.join(sign)}"


def _set(variable: str, path: Path) -> str:
    return f"{variable}={shlex.quote(shown(path))}"


def _how_to_join(run: LocalRun, master_url: str, worker_url: str) -> list[tuple[str, str]]:
    options, store = run.options, run.store
    data = shown(run.data.clients[0]) if options.task in BUILT_IN else "YOUR_DATA"
    join = ["fedtier", "client", "--server", worker_url, "--client-id", client_name(0), "--data", data]
    if options.task != "mnist_cnn":
        join += ["--task", options.task]
    environment = store.server.environment()
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_REGION")
    return [
        ("master", master_url),
        ("workers", worker_url),
        ("S3", f"{store.server.endpoint}, s3://{store.server.bucket}/{store.rounds.keys.prefix}"),
        ("run directory", shown(run.directory.path)),
        ("a client joins by", f"{_set(TOKEN_FILE, run.directory.token(client_name(0)))} {shlex.join(join)}"),
        ("to sign a token", _how_to_sign(run)),
        ("a round closes at", f"{options.tiers.threshold} clients"),
        ("to read S3", " ".join(f"{name}={environment[name]}" for name in names)),
        ("secret key", f'AWS_SECRET_ACCESS_KEY is "secretKey" in {shown(run.directory.credentials)}'),
    ]
