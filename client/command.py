"""``fedtier client``: the client's flags."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import stamina.instrumentation

from client.run import ClientOptions, run_client
from fedtier.flags import bearer_token, command, json_flag
from fedtier.logs import configure_logging
from fedtier.problems import StartupError

_INTERRUPTED = 130


@command("client")
@click.option("--server", required=True, help="Address of a worker aggregator or its load balancer: http://host:port.")
@click.option("--client-id", required=True, help="This client's name; one per client, the same for ever.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="This client's data, for the task.")
@click.option("--task", default="mnist_cnn", help="mnist_cnn, package.module:Name, or path/to/file.py:Name.")
@click.option("--epoch", type=click.IntRange(min=1), help="Epochs per round, instead of the round's.")
@click.option("--rounds", type=click.IntRange(min=0), help="The last round to reach; until the end by default.")
@click.option("--wait", type=click.FloatRange(min=0), default=300.0, help="Seconds the server may take to be there.")
@click.option("--seed", type=int, default=0, help="Seed of the training.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Keeps finished updates until their round is settled. [default: .fedtier/<client-id>]",
)
@json_flag
def client(**flags: Any) -> None:
    """Train on data that stays here, and upload the update of every round."""
    configure_logging("client")
    stamina.instrumentation.set_on_retry_hooks([])  # the transport's own lines say what is waited for
    if not flags["server"].startswith(("http://", "https://")):
        raise StartupError(f"--server {flags['server']!r} is no address; write it as http://host:port")
    options = ClientOptions(
        server=flags["server"],
        client_id=flags["client_id"],
        data=flags["data"],
        state_dir=flags["state_dir"] or Path(".fedtier") / flags["client_id"],
        task=flags["task"],
        epochs=flags["epoch"],
        rounds=flags["rounds"],
        wait=flags["wait"],
        seed=flags["seed"],
        token=bearer_token(),
        report=_print_json if flags["as_json"] else None,  # without it, the log says the same
    )
    try:
        status = run_client(options)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    sys.exit(status)


def _print_json(fact: Mapping[str, Any]) -> None:
    print(json.dumps(dict(fact)), flush=True)
