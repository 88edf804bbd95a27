"""Small folders of playbooks that real Ansible runs here, on hosts that are this machine under other names."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtier_cli.deploying.playbooks import Playbooks

Tasks = list[dict[str, Any]]
NOWHERE: Mapping[str, Any] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
"""Variables of a host that nobody answers for."""


def inventory_file(folder: Path, hosts: Mapping[str, Mapping[str, Any]], **variables: Any) -> Path:
    """Write an inventory whose hosts, all of them in the group clients, are this machine unless they say otherwise."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    path = folder / "hosts.json"
    path.write_text(json.dumps({"all": {"vars": here, "children": {"clients": {"hosts": dict(hosts)}}}}))
    return path


def playbook_file(folder: Path, name: str, tasks: Tasks, *, hosts: str = "all") -> None:
    path = folder / "playbooks" / f"{name}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"name": "A play", "hosts": hosts, "gather_facts": False, "tasks": tasks}]))


def playbooks(folder: Path, tasks: Tasks, hosts: Mapping[str, Mapping[str, Any]] | None = None) -> Playbooks:
    """Return playbooks among which is ``some.yml`` with these tasks."""
    playbook_file(folder, "some", tasks)
    return Playbooks(inventory_file(folder, hosts or {"one": {}, "two": {}}), folder=folder)
