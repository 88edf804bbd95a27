"""``fedtier deploy aws``, ``fedtier deploy hosts`` and ``fedtier destroy``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fedtier.flags import ENVIRONMENT_PREFIX, Command, command, json_flag
from fedtier.problems import StartupError
from fedtier_cli.deploying.checkout import infrastructure
from fedtier_cli.deploying.connection_flags import FILE, key_flag
from fedtier_cli.deploying.deployment import Agree, bring_up, set_up_hosts, tear_down
from fedtier_cli.deploying.display import DeployDisplay
from fedtier_cli.deploying.live_display import deploy_display
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.terraform import Terraform
from fedtier_cli.interruption import ended_by_signals

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_REGION: Final = "ap-northeast-2"


def _yes_flag(function: _Decorated) -> _Decorated:
    return click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")(function)


def _terraform_flags(function: _Decorated) -> _Decorated:
    options = [
        click.option("--var-file", "var_files", type=FILE, multiple=True, help="Variables of infra/terraform."),
        click.option("--var", "variables", multiple=True, help="One of them, as name=value; more often for more."),
        click.option("--state-bucket", required=True, help="S3 bucket that keeps Terraform's state."),
        click.option("--state-region", help=f"Of that bucket. [default: AWS_REGION, or {_REGION}]"),
        click.option("--state-key", default="fedtier/terraform.tfstate", help="Of the state; one per federation."),
        click.option(
            "--inventory",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Where the hosts' inventory is written. [default: infra/ansible/inventory/aws.json]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


class _Group(click.Group):
    command_class = Command


@click.group("deploy", cls=_Group, context_settings={"auto_envvar_prefix": ENVIRONMENT_PREFIX})
def deploy() -> None:
    """Bring a federation up on other machines: on AWS, or on hosts that you have."""


@command("hosts")
@click.option("--inventory", type=FILE, required=True, help="Ansible inventory of the hosts, YAML or JSON.")
@key_flag
@_yes_flag
@json_flag
def hosts(inventory: Path, key_path: Path | None, yes: bool, as_json: bool) -> None:
    """Set up hosts that you have, reached by SSH.

    Calling it again is safe: what is as it should be stays. infra/ansible/inventory/lab.example.yml is an inventory of
    three servers.
    """
    with _ended_in_order(as_json) as display:
        set_up_hosts(Playbooks(inventory, key_path), display, _agreement(yes, as_json))


@command("aws")
@_terraform_flags
@key_flag
@click.option("--infrastructure-only", is_flag=True, help="Only make the machines, set nothing up.")
@_yes_flag
@json_flag
def aws(infrastructure_only: bool, key_path: Path | None, yes: bool, as_json: bool, **flags: Any) -> None:
    """Make machines, network, load balancer and bucket on AWS, and set them up.

    Shows the plan and asks before anything is made. Calling it again is safe, with other variables too: what is there
    stays, and only what differs is changed.
    """
    inventory = _inventory(flags)
    agree = _agreement(yes, as_json)
    with _ended_in_order(as_json) as display:
        was_asked = bring_up(_terraform(flags, display), inventory, display, agree)
        if not infrastructure_only:
            set_up_hosts(Playbooks(inventory, key_path), display, _agreement(yes or was_asked, as_json))


deploy.add_command(hosts)
deploy.add_command(aws)


@command("destroy")
@_terraform_flags
@click.option("--delete-models", is_flag=True, help="Delete all round models, too, with their bucket.")
@_yes_flag
@json_flag
def destroy(delete_models: bool, yes: bool, as_json: bool, **flags: Any) -> None:
    """Remove everything from AWS that fedtier deploy aws made there; takes the same flags.

    While there are round models it stops at their bucket, with the machines gone, unless --delete-models is given.
    """
    agree = _agreement(yes, as_json)
    with _ended_in_order(as_json) as display:
        tear_down(_terraform(flags, display), _inventory(flags), display, agree, delete_models=delete_models)


def _terraform(flags: Mapping[str, Any], display: DeployDisplay) -> Terraform:
    region = flags["state_region"] or os.environ.get("AWS_REGION") or _REGION
    return Terraform(
        infrastructure() / "terraform",
        backend={"bucket": flags["state_bucket"], "region": region, "key": flags["state_key"]},
        var_files=flags["var_files"],
        variables=flags["variables"],
        see=display.resource,
    )


def _inventory(flags: Mapping[str, Any]) -> Path:
    chosen: Path | None = flags["inventory"]
    return infrastructure() / "ansible" / "inventory" / "aws.json" if chosen is None else chosen


@contextmanager
def _ended_in_order(as_json: bool) -> Iterator[DeployDisplay]:
    with ended_by_signals("the deployment"), deploy_display(as_json=as_json) as display:
        yield display


def _agreement(yes: bool, as_json: bool) -> Agree:
    """Return what asks the person at the terminal, or knows the answer."""

    def agree(question: str) -> None:
        if yes:
            return
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise StartupError(f"{question} Nobody can be asked here; give --yes if you agree with what is shown above")
        if not click.confirm(question):
            raise StartupError("nothing was changed, as you said")

    return agree
