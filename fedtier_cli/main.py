"""The console script ``fedtier``: one command per tier, and what stands above the tiers.

A command's module is imported only when it is called, so that a client needs neither
Flask nor boto3, and a server no torch.
"""

from __future__ import annotations

import atexit
import gc
import importlib
from typing import Final

import click

_OURS: Final = frozenset({"fedtier", "client", "worker_aggregator", "master_aggregator", "fedtier_cli"})
_COMMANDS: Final = {
    "master": "master_aggregator.command:master",
    "worker": "worker_aggregator.command:worker",
    "client": "client.command:client",
    "train": "fedtier_cli.local_commands:train",
    "up": "fedtier_cli.local_commands:up",
    "s3": "fedtier_cli.s3_command:s3",
    "split": "fedtier_cli.split_command:split",
    "convert": "fedtier_cli.convert_command:convert",
    "status": "fedtier_cli.status_command:status",
    "rounds": "fedtier_cli.reading_commands:rounds",
    "show": "fedtier_cli.reading_commands:show",
    "clients": "fedtier_cli.reading_commands:clients",
    "verify": "fedtier_cli.verify_command:verify",
    "evaluate": "fedtier_cli.evaluate_command:evaluate",
    "graph": "fedtier_cli.graph_command:graph",
    "pause": "fedtier_cli.operator_commands:pause",
    "resume": "fedtier_cli.operator_commands:resume",
    "close": "fedtier_cli.operator_commands:close",
    "deploy": "fedtier_cli.deploying.commands:deploy",
    "destroy": "fedtier_cli.deploying.commands:destroy",
    "token": "fedtier_cli.keys:token",
    "keygen": "fedtier_cli.keys:keygen",
    "credentials": "fedtier_cli.credentials_command:credentials",
}
_HELP: Final = {
    "master": "Count clients, close rounds, average, and publish the round models to S3.",
    "worker": "Check updates, add them up, and forward one partial sum per batch.",
    "client": "Train on data that stays here, and upload the update of every round.",
    "train": "Run a whole federation on this machine.",
    "up": "Start S3, a master and workers on this machine.",
    "s3": "Run an S3 server for a federation that has none, behind a proxy that does TLS.",
    "split": "Split a data set among clients, send the shards, publish the initial model.",
    "convert": "Make a safetensors file of a PyTorch checkpoint.",
    "status": "Show the open round, and how far it is.",
    "rounds": "List the published rounds.",
    "show": "Show one published round and who is in it.",
    "clients": "Show which clients were seen, when, and which never.",
    "verify": "Recompute a published round's digests, and check its manifest.",
    "evaluate": "Test every published round, straight from S3.",
    "graph": "Draw loss and accuracy of every device and round.",
    "pause": "Have the master take no uploads.",
    "resume": "Have the master take uploads again.",
    "close": "Close the open round with what is counted.",
    "deploy": "Bring a federation up on AWS, or on hosts that you have.",
    "destroy": "Remove from AWS what deploy made there.",
    "token": "Sign a token for a client, a worker or an operator.",
    "keygen": "Make a signing key and its public key.",
    "credentials": "Make all keys, certificates and tokens of a federation.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        try:
            found: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in _OURS:
                raise  # a bug, and no package that was left out
            raise click.ClickException(
                f"fedtier {cmd_name} needs the package {error.name}, which is not installed; "
                "pip install 'fedtier[server]' brings what servers need, and commands that look at them"
            ) from None
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))


@click.command(cls=_Commands)
@click.version_option(package_name="fedtier")
def main() -> None:
    """Federated learning in tiers, with sums that are exact."""
    # Or Python, at the end of the process, looks through every imported module for garbage: a tenth of a second.
    atexit.register(gc.freeze)


if __name__ == "__main__":
    main()
