"""``fedtier client``: the client's flags."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, Final, TextIO

import click
import stamina.instrumentation

from client.halves import upload_dtype_flag
from client.options import ClientOptions, Surroundings
from client.run import run_clients
from client.signals import stopped_by_sigterm
from client.stopping import Stopping
from client.transport import DEFAULT_RETRY_BUDGET, DEFAULT_WAIT
from fedtier.flags import FiniteRange, command, json_flag, stopped_status_flag
from fedtier.logs import configure_logging
from fedtier.metrics_listener import metrics_flags, metrics_served
from fedtier.problems import StartupError
from fedtier.tls import Tls, tls_flags
from fedtier.token_sources import client_tokens, log_warning, token_place

_INTERRUPTED: Final = 130
_STATE: Final = Path(".fedtier")


@command("client")
@click.option("--server", required=True, help="Address of a worker aggregator or its load balancer: https://host:port.")
@click.option(
    "--client-id",
    multiple=True,
    required=True,
    help="This client's name; one per client, the same for ever. Several, each with its --data, share this process.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="This client's data, for the task; once per --client-id, in their order.",
)
@click.option("--task", default="mnist_cnn", help="A built-in task, package.module:Name, or path/to/file.py:Name.")
@click.option("--epoch", type=click.IntRange(min=1), help="Epochs per round, instead of the round's.")
@click.option("--rounds", type=click.IntRange(min=0), help="The last round to reach; until the end by default.")
@click.option("--wait", type=FiniteRange(min=0), default=DEFAULT_WAIT, help="Seconds the server may take to be there.")
@click.option(
    "--retry-budget",
    type=FiniteRange(min=0),
    default=DEFAULT_RETRY_BUDGET,
    help="Seconds that a later request is tried again before the client gives up.",
)
@click.option(
    "--grace", type=click.IntRange(min=0), default=30, help="Seconds for an upload that is under way at SIGTERM."
)
@stopped_status_flag
@click.option("--seed", type=int, default=0, help="Seed of the training.")
@upload_dtype_flag
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Keeps finished updates until their round is settled; of several clients, holds a folder for each. "
    f"[default: {_STATE}/<client-id>]",
)
@tls_flags
@metrics_flags
@json_flag
def client(tls: Tls, **flags: Any) -> None:
    """Train on data that stays here, and upload the update of every round.

    FEDTIER_TOKEN_FILE names the file of the client's token, which the federation's operator hands out, or FEDTIER_TOKEN
    holds it; with several clients, all of their tokens.
    """
    configure_logging("client")
    stamina.instrumentation.set_on_retry_hooks([])  # the transport's own lines say what is waited for
    client_ids, data = flags["client_id"], flags["data"]
    if len(client_ids) != len(data):
        raise StartupError(
            f"there are {len(client_ids)} --client-id but {len(data)} --data; give one --data for each --client-id, "
            "in the same order"
        )
    state_dirs = _state_dirs(client_ids, flags["state_dir"])
    tokens = client_tokens(token_place(), client_ids, warn=log_warning)
    report = _printer(sys.stdout) if flags["as_json"] else None  # without it, the log says the same
    clients = [
        ClientOptions(
            server=flags["server"],
            client_id=client_id,
            data=own_data,
            state_dir=state_dir,
            task=flags["task"],
            epochs=flags["epoch"],
            rounds=flags["rounds"],
            wait=flags["wait"],
            retry_budget=flags["retry_budget"],
            seed=flags["seed"],
            upload_dtype=flags["upload_dtype"],
            token=tokens[client_id],
            tls=tls,
            report=report,
        )
        for client_id, own_data, state_dir in zip(client_ids, data, state_dirs, strict=True)
    ]
    around = Surroundings(stopping=Stopping(status=flags["stopped_status"]))
    try:
        # A task may print what it likes; among facts it would pass for one.
        with (
            redirect_stdout(sys.stderr) if report else nullcontext(),
            metrics_served(around.metrics, flags["metrics_host"], flags["metrics_port"]),
            stopped_by_sigterm(around.stopping, grace=flags["grace"]),
        ):
            status = run_clients(clients, around)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    sys.exit(status)


def _state_dirs(client_ids: Sequence[str], given: Path | None) -> list[Path]:
    if given is not None and len(client_ids) == 1:
        return [given]
    return [(given or _STATE) / client_id for client_id in client_ids]


def _printer(output: TextIO) -> Callable[[Mapping[str, Any]], None]:
    return lambda fact: print(json.dumps(dict(fact)), file=output, flush=True)
