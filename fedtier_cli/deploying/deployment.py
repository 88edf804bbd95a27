"""Brings hosts up and sets them up, and tears them down: the order of things, whoever asks for them."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fedtier.problems import StartupError
from fedtier_cli.deploying.display import DeployDisplay
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.site import Site, read_site
from fedtier_cli.deploying.terraform import Plan, Terraform
from fedtier_cli.interruption import Interrupted
from fedtier_cli.workplace import shown

Agree = Callable[[str], None]
"""Asks a person a question; raises `StartupError` unless the answer is yes."""
_SET_UP_SECONDS: Final = 3600.0
_STORAGE: Final = "module.storage"
_MODELS_GO: Final = "delete_models_on_destroy=true"
_STOPPED: Final = (
    "Terraform has finished what it had begun, and its state says what is there; call the same again to go on"
)


def set_up_hosts(playbooks: Playbooks, display: DeployDisplay, agree: Agree) -> Site:
    """Set up all hosts of an inventory; what is as it should be already is left alone.

    Raises
    ------
    StartupError
        Names host, task and what to do.
    """
    display.step("reading the inventory")
    site = read_site(playbooks)
    display.site(site)
    agree(f"set up these hosts as the federation {site.federation}?")
    display.step("setting up hosts")
    result = playbooks.run("init", timeout=_SET_UP_SECONDS, see=display.play)
    display.facts("deployed", _summary(site, playbooks, changed=result.changed))
    return site


def bring_up(terraform: Terraform, inventory: Path, display: DeployDisplay, agree: Agree) -> bool:
    """Have Terraform make what is missing, and write the inventory of the hosts.

    Returns
    -------
    bool
        Whether there was something to agree to.

    Raises
    ------
    StartupError
    """
    with _planned(terraform, display, destroy=False) as plan:
        if plan.changes:
            agree("make these changes?")
            display.step("making changes")
            _apply(terraform, plan, display)
        else:
            display.note("everything is there already")
    hosts = terraform.outputs().get("inventory")
    if not isinstance(hosts, dict):
        raise StartupError("Terraform has no output named inventory; is the checkout whole?")
    write_inventory(inventory, hosts)
    display.note(f"inventory written to {shown(inventory)}")
    return bool(plan.changes)


def tear_down(
    terraform: Terraform, inventory: Path, display: DeployDisplay, agree: Agree, *, delete_models: bool = False
) -> None:
    """Have Terraform remove all that it made, and remove the inventory, unless somebody else wrote it.

    Parameters
    ----------
    terraform : Terraform
    inventory : Path
    display : DeployDisplay
    agree : callable
    delete_models : bool
        Round models too; otherwise their bucket is not removed while it has some.

    Raises
    ------
    StartupError
    """
    with _planned(terraform, display, destroy=True) as plan:
        if plan.changes:
            agree(f"destroy all of these{' and all round models' if delete_models else ''}, for good?")
            _destroy(terraform, plan, display, delete_models=delete_models)
        else:
            display.note("there is nothing to destroy")
    _remove_inventory(inventory)
    display.facts("destroyed", [("destroyed", f"{len(plan.changes)} resources")])


def write_inventory(path: Path, hosts: dict[str, Any]) -> None:
    """Write an inventory as JSON; who reads it meanwhile gets the old one or the new one, whole.

    Raises
    ------
    StartupError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(_as_text(hosts))
        Path(name).replace(path)
    except OSError as error:
        raise StartupError(
            f"the inventory {path} cannot be written ({error.strerror}); choose another --inventory and call the same "
            "again"
        ) from None


def _as_text(hosts: object) -> str:
    return json.dumps(hosts, indent=2) + "\n"


def _remove_inventory(path: Path) -> None:
    """Remove an inventory that has the form in which `write_inventory` writes it; people write theirs otherwise."""
    try:
        text = path.read_text()
        if text == _as_text(json.loads(text)):
            path.unlink()
    except (OSError, ValueError):
        return


@contextmanager
def _planned(terraform: Terraform, display: DeployDisplay, *, destroy: bool) -> Iterator[Plan]:
    display.step("getting Terraform ready")
    terraform.init()
    display.step("planning")
    # A plan has values that may be secret.
    with tempfile.TemporaryDirectory(prefix="fedtier-plan-") as folder:
        plan = terraform.plan(Path(folder) / "plan", destroy=destroy)
        display.plan(plan.changes)
        yield plan


def _apply(terraform: Terraform, plan: Plan, display: DeployDisplay) -> None:
    try:
        terraform.apply(plan)
    except Interrupted:
        display.note(_STOPPED)
        raise


def _destroy(terraform: Terraform, plan: Plan, display: DeployDisplay, *, delete_models: bool) -> None:
    if delete_models:
        # Whether the bucket takes its models with it is decided by what was applied last, not by what is said now.
        display.step("letting the bucket go with its models")
        folder = plan.path.parent
        change = terraform.plan(folder / "models", variables=[_MODELS_GO], targets=[_STORAGE])
        _apply(terraform, change, display)
        plan = terraform.plan(folder / "again", destroy=True)  # the one before is out of date
    display.step("destroying")
    _apply(terraform, plan, display)


def _summary(site: Site, playbooks: Playbooks, *, changed: int) -> list[tuple[str, str]]:
    key = [] if playbooks.key_path is None else ["--key_path", shown(playbooks.key_path)]
    call = ["./train.sh", "--server", site.server_url, "--inventory", shown(playbooks.inventory), *key]
    return [
        ("clients upload to", site.server_url),
        ("master", site.master_url),
        ("rounds", f"s3://{site.bucket_name}/{site.bucket_key}"),
        ("secrets", f"{shown(site.secrets_dir)} (keep it, and keep it to yourself)"),
        ("changed", f"{changed} tasks" if changed else "nothing, all was as it should be"),
        ("train", shlex.join([*call, "--round", "3", "--epoch", "1"])),
    ]
