"""``fedtier master``: the master aggregator's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fedtier.flags import FiniteRange, command, json_flag, require_address, stopped_status_flag
from fedtier.logs import configure_logging
from fedtier.metrics_listener import metrics_flags
from fedtier.problems import StartupError
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT, ClientSettings
from fedtier.serving.access import require_guard
from fedtier.serving.front.limits import Limits
from fedtier.serving.options import server_flags
from fedtier.serving.runner import ServerOptions, serve
from fedtier.serving.verify_keys import TokenRules, token_verifier
from fedtier.store import RoundStore
from fedtier.tls import Tls, server_context, tls_flags
from master_aggregator.app import MasterOptions, create_master
from master_aggregator.initial import publish_initial_model
from master_aggregator.planning import Rules

_COUNT = click.IntRange(1, 1_000_000_000)
_LONGEST_DEADLINE = 1e9
"""Seconds; some thirty years, which a date can still hold."""
_HIGHEST_WEIGHT_LIMIT = 1 << 48
"""Beyond it the weights leave fewer than 14 bits of an int64 to the values."""


@command("master")
@click.option("--bucket-name", required=True, help="S3 bucket.")
@click.option(
    "--bucket-key", required=True, help="Key of the newest model's copy; without extension, the prefix of all."
)
@click.option("--state-dir", type=click.Path(path_type=Path), required=True, help="Folder of this master's own.")
@click.option("--threshold", type=_COUNT, help="Clients at which a round closes. [default: the cohort]")
@click.option("--web-model", help="Path or URL of the initial model; used only when nothing is published.")
@click.option("--rounds", type=click.IntRange(min=0), help="The last round; none by default.")
@click.option(
    "--min-clients",
    "--min",
    "min_clients",
    type=_COUNT,
    default=1,
    help="Clients that a round needs at its deadline.",
)
@click.option(
    "--deadline",
    type=FiniteRange(0, _LONGEST_DEADLINE, min_open=True),
    help="Seconds a round stays open; no limit by default.",
)
@click.option("--clients", type=_COUNT, help="Select each round's cohort from client-0 ... client-<K-1>.")
@click.option("--fraction", type=FiniteRange(0, 1), help="The part of them that is selected. [default: 1.0]")
@click.option("--seed", type=int, default=0, help="Seed of the selection.")
@click.option(
    "--weight-limit",
    type=click.IntRange(1, _HIGHEST_WEIGHT_LIMIT),
    default=DEFAULT_WEIGHT_LIMIT,
    help="The most examples that one round counts.",
)
@click.option("--batch-max", type=_COUNT, default=64, help="The workers' --batch-max.")
@click.option("--epoch", "epoch", type=_COUNT, default=1, help="Epochs a client trains per round.")
@click.option("--batch-size", type=_COUNT, default=32, help="Samples in a client's training batch.")
@click.option("--lr", type=FiniteRange(min=0, min_open=True), default=0.05, help="Clients' learning rate.")
@click.option(
    "--lr-decay",
    type=FiniteRange(0, 1, min_open=True),
    default=1.0,
    help="Factor of the learning rate from round to round.",
)
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd", help="How clients' weights move.")
@click.option("--momentum", type=FiniteRange(0, 1, max_open=True), default=0.5, help="Clients' momentum; of sgd alone.")
@click.option("--weight-decay", type=FiniteRange(min=0), default=0.0, help="Clients' weight decay.")
@click.option(
    "--prox-mu",
    type=FiniteRange(min=0),
    default=0.0,
    help="Pull of FedProx towards the round's model; 0 is plain averaging.",
)
@click.option(
    "--model-delivery",
    type=click.Choice(["file", "redirect"]),
    default="file",
    help="Serve models from here, or redirect to a presigned URL of S3.",
)
@click.option(
    "--tensorboard-dir",
    type=click.Path(path_type=Path),
    help="Folder for what TensorBoard shows. [default: tensorboard in the state directory]",
)
@click.option("--no-tensorboard", is_flag=True, help="Write nothing for TensorBoard.")
@click.option("--exit-when-finished", is_flag=True, help="Exit 0 once the last round is published.")
@stopped_status_flag
@server_flags(port=5000)
@tls_flags
@metrics_flags
@json_flag
def master(tls: Tls, **flags: Any) -> None:
    """Count clients, close rounds, average, and publish the round models to S3.

    S3 is found by the AWS variables. FEDTIER_VERIFY_KEYS names the public keys that tokens are verified with (fedtier
    keygen makes a pair); without it whoever is on this machine may take part, and nobody else.
    """
    configure_logging("master")
    rules = _rules(flags)
    verifier = token_verifier(TokenRules(audience=flags["audience"], revoked=flags["revoked"]))
    client_certs = flags["require_client_certs"]
    require_guard(flags["host"], has_keys=verifier is not None, tls=tls, client_certs=client_certs)
    context = server_context(tls, client_certs=client_certs)
    store = RoundStore(flags["bucket_name"], flags["bucket_key"])
    require_address(store.endpoint, "the S3 endpoint", plain_http=tls.plain_http)
    notice = publish_initial_model(store, flags["web_model"], rules.weight_limit)
    if notice:
        click.echo(notice, err=True)
    options = MasterOptions(
        bucket_name=flags["bucket_name"],
        bucket_key=flags["bucket_key"],
        state_dir=flags["state_dir"],
        rules=rules,
        redirect_models=flags["model_delivery"] == "redirect",
        exit_when_finished=flags["exit_when_finished"],
        threads=flags["threads"],
        spool_max=flags["spool_max"],
        verifier=verifier,
        client_certs=client_certs,
        tensorboard_dir=_tensorboard_dir(flags),
        metrics_host=flags["metrics_host"],
        metrics_port=flags["metrics_port"],
    )
    server = ServerOptions(
        "master",
        flags["host"],
        flags["port"],
        threads=flags["threads"],
        grace=flags["grace"],
        stopped_status=flags["stopped_status"],
        announce_json=flags["as_json"],
        limits=Limits(min_rate=flags["min_rate"]),
        tls=context,
    )
    serve(server, lambda: create_master(options))


def _tensorboard_dir(flags: dict[str, Any]) -> Path | None:
    if flags["no_tensorboard"]:
        return None
    chosen: Path = flags["tensorboard_dir"] or flags["state_dir"] / "tensorboard"
    return chosen


def _rules(flags: dict[str, Any]) -> Rules:
    if flags["threshold"] is None and flags["clients"] is None:
        raise StartupError("--threshold is missing: say how many clients close a round, or give --clients")
    if flags["fraction"] is not None and flags["clients"] is None:
        raise StartupError("--fraction is of --clients, which is missing: say how many clients there are")
    rules = Rules(
        threshold=flags["threshold"],
        min_clients=flags["min_clients"],
        deadline=flags["deadline"],
        weight_limit=flags["weight_limit"],
        batch_max=flags["batch_max"],
        final_round=flags["rounds"],
        clients=flags["clients"],
        fraction=1.0 if flags["fraction"] is None else flags["fraction"],
        seed=flags["seed"],
        client=ClientSettings(
            epochs=flags["epoch"],
            batch_size=flags["batch_size"],
            lr=flags["lr"],
            optimizer=flags["optimizer"],
            momentum=flags["momentum"],
            weight_decay=flags["weight_decay"],
            prox_mu=flags["prox_mu"],
        ),
        lr_decay=flags["lr_decay"],
    )
    _require_reachable(rules)
    return rules


def _require_reachable(rules: Rules) -> None:
    """Check that a round can get as many clients as close it."""
    threshold = rules.threshold or 0
    cohort = rules.cohort_size
    if cohort is not None and threshold > cohort:
        raise StartupError(
            f"--threshold {threshold} is more than the {cohort} clients that a round selects; "
            "lower it, or raise --clients or --fraction"
        )
    if max(threshold, cohort or 0) > rules.weight_limit:
        raise StartupError(
            f"--weight-limit {rules.weight_limit} has no room for {max(threshold, cohort or 0)} clients "
            "with one example each; raise it"
        )
