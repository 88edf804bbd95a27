"""A site on this machine alone, for the real playbooks: its hosts are folders."""

from __future__ import annotations

import getpass
import grp
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def lab(folder: Path, clients: Mapping[str, Sequence[str]], **variables: Any) -> Path:
    """Write the inventory of a site whose hosts keep their shards in folders of their names.

    Parameters
    ----------
    folder : Path
    clients : Mapping of str to sequence of str
        The client ids of each host.
    variables
        More of all hosts.
    """
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "secrets_dir": str(folder / "secrets"),
        "data_dir": f"{folder}/{{{{ inventory_hostname }}}}",
        "service_user": getpass.getuser(),
        "service_group": grp.getgrgid(os.getgid()).gr_name,
        **variables,
    }
    for host in clients:
        (folder / host).mkdir()
    groups = {
        "master_aggregator": {"hosts": {"server": {"ansible_host": "127.0.0.1"}}},
        "worker_aggregators": {"hosts": {"server": {}}},
        "clients": {"hosts": {host: {"client_ids": list(ids)} for host, ids in clients.items()}},
    }
    path = folder / "lab.json"
    path.write_text(json.dumps({"all": {"vars": everywhere, "children": groups}}))
    return path
