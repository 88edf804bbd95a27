"""The hosts themselves: other tests lean on their being real systems that end with the test."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.infra.hosts import Host, Hosts, why_not_here
from tests.infra.hosts.__main__ import site
from tests.infra.traces import children, mounts_below

pytestmark = pytest.mark.skipif(why_not_here() is not None, reason=why_not_here() or "")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(tmp_path_factory.mktemp("hosts"), site(workers=1, clients=1, s3=False, balancer=False)) as running:
        yield running


@pytest.fixture
def host(hosts: Hosts) -> Host:
    return hosts["worker-0"]


def test_each_host_is_a_system_of_its_own(hosts: Hosts) -> None:
    names = hosts.each("uname", "-n")
    identities = hosts.each("cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub")
    states = hosts.each("systemctl", "is-system-running")

    assert {name: printed.strip() for name, printed in names.items()} == {host.name: host.name for host in hosts}
    assert len(set(identities.values())) == len(names) == 3
    assert {printed.strip() for printed in states.values()} == {"running"}
    assert len({host.address for host in hosts}) == 3


def test_a_user_comes_in_and_becomes_root(host: Host) -> None:
    assert host.ssh("id", "-un").stdout.strip() == "admin"
    assert host.ssh("sudo", "id", "-un").stdout.strip() == "root"


def test_a_command_that_fails_tells_what_it_printed(host: Host) -> None:
    with pytest.raises(RuntimeError, match=r"worker-0: status 2\n.*no-such-file"):
        host.ssh("ls", "/no-such-file")


def test_a_host_installs_packages_as_this_machine_does(host: Host) -> None:
    host.ssh("sudo", "apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "tree", timeout=120)
    host.ssh("python3", "-m", "venv", "/tmp/venv", timeout=120)
    host.ssh("/tmp/venv/bin/pip", "install", "--quiet", "iniconfig", timeout=120)

    assert "tree v" in host.ssh("tree", "--version").stdout
    host.ssh("/tmp/venv/bin/python", "-c", "import iniconfig")


def test_a_killed_host_is_gone_at_once_and_comes_back_with_its_files(host: Host) -> None:
    host.ssh("sudo", "tee", "/var/lib/kept", stdin="kept\n")
    host.ssh("sudo", "tee", "/run/lost", stdin="lost\n")

    host.kill()

    assert not host.is_running
    assert host.ssh("true", check=False).returncode == 255
    host.start()
    assert host.ssh("cat", "/var/lib/kept").stdout == "kept\n"
    assert host.ssh("ls", "/run/lost", check=False).returncode != 0


def test_a_reboot_starts_what_is_enabled(host: Host) -> None:
    unit = (
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo up >>/var/lib/boots'\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    host.ssh("sudo", "tee", "/etc/systemd/system/counts-boots.service", stdin=unit)
    host.ssh("sudo", "systemctl", "enable", "counts-boots.service")
    before = host.ssh("cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat").stdout

    host.reboot()
    host.reboot()

    assert host.ssh("cat", "/var/lib/boots").stdout == "up\nup\n"
    assert host.ssh("cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat").stdout != before
    assert "Reached target" in host.ssh("sudo", "journalctl", "--boot=-1", "--no-pager").stdout


def test_the_other_hosts_do_not_see_a_kill(hosts: Hosts) -> None:
    with subprocess.Popen(
        hosts["client-0"].ssh_command("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        hosts["master-0"].kill()
        hosts["master-0"].start()
        running.stdin.write(b"still here\n")
        running.stdin.close()

        assert running.stdout.read() == b"still here\n"


def test_ansible_finds_them_by_the_inventory(hosts: Hosts, tmp_path: Path) -> None:
    inventory = hosts.write_inventory(tmp_path / "hosts.yml", federation="tested")

    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "all", "--inventory", str(inventory), "--module-name", "ping"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.count('"ping": "pong"') == 3, done.stdout + done.stderr
    written = yaml.safe_load(inventory.read_text())["all"]
    assert list(written["children"]["worker_aggregators"]["hosts"]) == ["worker-0"]
    assert written["vars"]["federation"] == "tested"
    assert written["vars"]["secrets_dir"] == str(tmp_path / "secrets")


def test_nothing_is_left_of_hosts_whose_test_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Hosts(tmp_path, {"clients": ["left-0"]}) as hosts:  # noqa: PT012
        assert _traces_of(tmp_path, hosts["left-0"])
        raise ZeroDivisionError

    assert _traces_of(tmp_path, hosts["left-0"]) == []


def test_nothing_is_left_of_hosts_whose_starter_was_killed(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    command = [sys.executable, "-m", "tests.infra.hosts", "--clients", "1", "--inventory", str(inventory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as starter:
        assert starter.stdout is not None
        host_line = starter.stdout.readline().decode()
        [boot] = children(starter.pid)
        watched = [os.pidfd_open(pid) for pid in [boot, *children(boot)]]

        starter.send_signal(signal.SIGKILL)

        for descriptor in watched:  # readable when the process is gone
            assert select.select([descriptor], [], [], 60)[0]
            os.close(descriptor)
    assert host_line.startswith("client-0")
    assert mounts_below(tmp_path) == []


def _traces_of(folder: Path, host: Host) -> list[Path]:
    """Return the mounts and control groups of a host."""
    return mounts_below(folder) + list(Path("/sys/fs/cgroup").glob(f"**/fedtier-test-{host.address}"))
