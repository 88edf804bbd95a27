"""The units that hosts get, judged by systemd itself: they are well formed, and may do little."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.infra.ansible.plays import ANSIBLE, ansible

_TEMPLATES: Final = {
    "fedtier-.service.d/hardening.conf": ("installation", "hardening.conf.j2"),
    "fedtier-master.service": ("master_aggregator", "fedtier-master.service.j2"),
    "fedtier-worker.service": ("worker_aggregator", "fedtier-worker.service.j2"),
    "fedtier-worker-tls.service": ("front", "front.service.j2"),
    "fedtier-client@.service": ("client", "fedtier-client@.service.j2"),
    "fedtier-s3.service": ("s3", "fedtier-s3.service.j2"),
    "fedtier-tensorboard.service": ("tensorboard", "fedtier-tensorboard.service.j2"),
}
_UNITS: Final = [name.replace("@", "@client-0") for name in _TEMPLATES if name.endswith(".service")]
_NEEDED: Final = {
    *("RestrictAddressFamilies_AF_INET_INET6", "RestrictAddressFamilies_AF_UNIX", "PrivateNetwork", "IPAddressDeny"),
    *("RootDirectoryOrRootImage", "PrivateMounts", "PrivateUsers", "ProcSubset", "DeviceAllow"),
}
"""What all are left: the network, and the host's own files to read. Names are systemd's."""
_NEEDED_BY: Final = {
    "fedtier-worker-tls.service": {"AmbientCapabilities", "CapabilityBoundingSet_CAP_NET_BIND_SERVICE_BROADCAST_RAW)"},
    "fedtier-client@client-0.service": {"MemoryDenyWriteExecute"},
    "fedtier-s3.service": {"RestrictAddressFamilies_AF_NETLINK"},
    "fedtier-tensorboard.service": {"MemoryDenyWriteExecute"},
}
_PROGRAMS: Final = ("opt/release/bin/fedtier", "opt/release/bin/python", "usr/sbin/nginx", "bin/kill")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host's root with nothing but its units, and programs for them to name."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    root = tmp_path_factory.mktemp("root")
    units = root / "etc" / "systemd" / "system"
    (units / "fedtier-.service.d").mkdir(parents=True)
    for target in ("sysinit", "network-online"):
        (units / f"{target}.target").write_text("[Unit]\nDescription=Stands for that of systemd\n")
    for program in _PROGRAMS:
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).touch(mode=0o755)
    write = [
        {
            "ansible.builtin.template": {
                "src": str(ANSIBLE / "roles" / role / "templates" / name),
                "dest": str(units / to),
            }
        }
        for to, (role, name) in _TEMPLATES.items()
    ]
    given = {
        "ansible_python_interpreter": sys.executable,
        "installation_release_dir": "/opt/release",
        "installation_packages_dir": "/opt/packages",
        "front_name": "worker-tls",
        "front_description": "TLS",
    }
    play = {"hosts": "m", "connection": "local", "gather_facts": False, "vars": given, "tasks": write}
    playbook = root / "write.yml"
    playbook.write_text(json.dumps([play]))
    inventory = root / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": {"master_aggregator": {"hosts": {"m": {}}}}}}))
    defaults = f"@{ANSIBLE / 'playbooks' / 'group_vars' / 'all.yml'}"
    ansible("ansible-playbook", "--inventory", inventory, "--extra-vars", defaults, playbook)
    return root


@pytest.mark.parametrize("unit", _UNITS)
def test_a_unit_has_nothing_that_systemd_does_not_know(unit: str, root: Path) -> None:
    assert analyzed(root, "verify", "--man=no", "--generators=no", unit).stderr == ""


@pytest.mark.parametrize("unit", _UNITS)
def test_a_unit_may_do_no_more_than_a_server_needs(unit: str, root: Path) -> None:
    judged = json.loads(analyzed(root, "security", "--offline=true", "--json=short", unit).stdout)
    assert {one["json_field"] for one in judged if not one["set"]} <= _NEEDED | _NEEDED_BY.get(unit, set())
    assert len(judged) > 50


def analyzed(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Return what systemd says of a unit below a root."""
    done = subprocess.run(["systemd-analyze", f"--root={root}", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
