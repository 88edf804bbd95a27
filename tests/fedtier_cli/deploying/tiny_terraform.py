"""Terraform files that need no cloud and no provider: two things, of which the second can be made to fail."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from fedtier_cli.deploying.terraform import See, Terraform, Timeouts

needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed")
FIRST, SECOND = "terraform_data.first", 'module.second.terraform_data.this["b"]'
INVENTORY: Final[dict[str, Any]] = {"all": {"children": {"clients": {"hosts": {"client-0": {}}}}}}

_MAIN = f"""
variable "script" {{
  type    = string
  default = "true"
}}
variable "password" {{
  type      = string
  default   = ""
  sensitive = true
}}
resource "terraform_data" "first" {{
  input = var.password
}}
module "second" {{
  source = "./second"
  script = var.script
  after  = terraform_data.first.id
}}
output "inventory" {{
  value = jsondecode({json.dumps(json.dumps(INVENTORY))})
}}
"""
_SECOND = """
variable "script" {
  type = string
}
variable "after" {
  type = string
}
resource "terraform_data" "this" {
  for_each         = toset(["b"])
  triggers_replace = var.after
  provisioner "local-exec" {
    command = var.script
  }
}
"""


def tiny_terraform(
    folder: Path, *variables: str, see: See = lambda _: None, timeouts: Timeouts | None = None
) -> Terraform:
    """Return Terraform for such a folder; with `script=...`, the second thing is made when that ends well."""
    (folder / "second").mkdir(parents=True, exist_ok=True)
    (folder / "main.tf").write_text(_MAIN)
    (folder / "second" / "main.tf").write_text(_SECOND)
    return Terraform(folder, backend={}, variables=variables, see=see, timeouts=timeouts)


def held_in(folder: Path) -> str:
    """Return the variable by which making the second thing does not end; it waits for a reader of ``pipe``."""
    os.mkfifo(folder / "pipe")
    return f"script=exec 3>{folder}/pipe; echo >&3; exec sleep 1000"


def when_it_is_being_made(folder: Path, act: Callable[[], None]) -> threading.Thread:
    """Do something once the second thing is being made, then wait until nothing makes it any more."""

    def wait() -> None:
        with (folder / "pipe").open("rb", buffering=0) as pipe:
            pipe.read(1)
            act()
            pipe.read()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def addresses(folder: Path) -> Sequence[str]:
    """Return what is there, by the state."""
    state: dict[str, Any] = json.loads((folder / "terraform.tfstate").read_text())
    return sorted(resource.get("module", "root") for resource in state["resources"] if any(resource["instances"]))
