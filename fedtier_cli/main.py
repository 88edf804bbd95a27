"""The console script ``fedtier``: one command per tier, and what stands above the tiers.

A command's module is imported only when it is called, so that a client needs neither
Flask nor boto3, and a server no torch.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

_COMMANDS: Final = {
    "master": "master_aggregator.command:master",
    "worker": "worker_aggregator.command:worker",
    "client": "client.command:client",
    "token": "fedtier_cli.keys:token",
    "keygen": "fedtier_cli.keys:keygen",
    "up": "fedtier_cli.local_commands:up",
    "train": "fedtier_cli.local_commands:train",
    "evaluate": "fedtier_cli.evaluate_command:evaluate",
}
_HELP: Final = {
    "master": "Count clients, close rounds, average, and publish the round models to S3.",
    "worker": "Check updates, add them up, and forward one partial sum per batch.",
    "client": "Train on data that stays here, and upload the update of every round.",
    "token": "Sign a token for a client, a worker or an operator.",
    "keygen": "Make a signing key and its public key.",
    "up": "Start S3, a master and workers on this machine.",
    "train": "Run a whole federation on this machine.",
    "evaluate": "Test every published round, straight from S3.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))


@click.command(cls=_Commands)
@click.version_option(package_name="fedtier")
def main() -> None:
    """Federated learning in tiers, with sums that are exact."""


if __name__ == "__main__":
    main()
