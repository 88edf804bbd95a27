"""Ansible as the scripts call it, on this machine alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.infra.programs import CHECKOUT, environment

ANSIBLE = CHECKOUT / "infra" / "ansible"
PLAYBOOKS = sorted((ANSIBLE / "playbooks").glob("*.yml"))


def ansible(program: str, *words: str | Path, **variables: str) -> str:
    """Return what one of Ansible's programs prints; a failure shows all of it."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *words],
        cwd=CHECKOUT,
        env=environment() | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"), "PYTHONPATH": str(CHECKOUT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def site(folder: Path, inventory: dict[str, Any], *words: str) -> dict[str, Any]:
    """Return what `site.yml` tells of an inventory."""
    path = folder / "hosts.json"
    path.write_text(json.dumps(inventory))
    return site_of(path, *words)


def site_of(inventory: Path, *words: str) -> dict[str, Any]:
    """Return what `site.yml` tells of an inventory's file."""
    printed = ansible(
        "ansible-playbook",
        "--inventory",
        inventory,
        *words,
        ANSIBLE / "playbooks" / "site.yml",
        ANSIBLE_CALLBACK_RESULT_FORMAT="yaml",
    )
    told = printed.partition("ok: [localhost] => ")[2].partition("\nPLAY RECAP")[0]
    found: dict[str, Any] = yaml.safe_load(told)["site"]
    return found
