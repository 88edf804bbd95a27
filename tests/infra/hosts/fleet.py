"""Several hosts that make up a site, and the inventory by which Ansible finds them."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests.infra.hosts import machine, root
from tests.infra.hosts.host import SSH_PORT, Host, Ssh, make_key, seed

# 127.0.1.1 is this machine's own name on Debian.
_ADDRESSES = range(10, 250)


class Hosts:
    """Hosts by name, running while the context lasts; nothing of them is left afterwards but files in `folder`.

    Parameters
    ----------
    folder
        An empty folder for the hosts' files, keys and logs.
    groups
        The names of the hosts in each group of the inventory; a host may be in several.

    Examples
    --------
    >>> with Hosts(tmp_path, {"master_aggregator": ["master-0"], "clients": ["client-0"]}) as hosts:  # doctest: +SKIP
    ...     hosts["client-0"].ssh("uname", "-n").stdout
    ...     hosts["client-0"].kill()
    ...     hosts["client-0"].start()
    """

    def __init__(self, folder: Path, groups: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder
        self._groups = groups
        self._hosts: dict[str, Host] = {}
        self._ssh = Ssh(folder / "ssh" / "key", folder / "ssh" / "known_hosts")
        self._stack = contextlib.ExitStack()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __enter__(self) -> Hosts:
        with contextlib.ExitStack() as stack:
            self._make(stack)
            for host in self:
                stack.callback(host.kill)
                host.power_on()
            for host in self:
                host.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def key(self) -> Path:
        """The private key that opens every host."""
        return self._ssh.key

    def in_group(self, group: str) -> list[Host]:
        """Return the hosts of a group, in its order."""
        return [self[name] for name in self._groups.get(group, ())]

    def inventory(self, **variables: Any) -> dict[str, Any]:
        """Return the inventory; `variables` are for all hosts."""
        return {
            "all": {
                "vars": {
                    "ansible_user": root.USER,
                    "ansible_ssh_private_key_file": str(self._ssh.key),
                    "ansible_ssh_common_args": " ".join(self._ssh.options),
                    **variables,
                },
                "hosts": {host.name: _variables(host) for host in self},
                "children": {
                    group: {"hosts": {name: {} for name in names}} for group, names in self._groups.items() if names
                },
            }
        }

    def write_inventory(self, path: Path, **variables: Any) -> Path:
        """Write the inventory as YAML, secrets beside it, and return its path."""
        variables = {"secrets_dir": str(path.with_name("secrets")), **variables}
        path.write_text(yaml.safe_dump(self.inventory(**variables), sort_keys=False))
        return path

    def each(self, *words: str, timeout: float = 60.0) -> dict[str, str]:
        """Run a command on all hosts at a time and return what each printed."""
        with ThreadPoolExecutor(max_workers=len(self._hosts)) as pool:
            done = pool.map(lambda host: (host.name, host.ssh(*words, timeout=timeout).stdout), self)
            return dict(done)

    def _make(self, stack: contextlib.ExitStack) -> None:
        base = stack.enter_context(root.base_root())
        self._ssh.key.parent.mkdir(parents=True)
        make_key(self._ssh.key, "tests of fedtier")
        _, named = machine.pip_settings()
        shared = [path for path in named if path.is_dir()]
        for name in dict.fromkeys(name for names in self._groups.values() for name in names):
            address = stack.enter_context(_free_address())
            folder = self._folder / name
            folder.mkdir()
            seed(folder, name, address, self._ssh)
            self._hosts[name] = Host(name, address, folder, base, self._ssh, shared)


def _variables(host: Host) -> dict[str, Any]:
    """Return what an inventory says of a host; hosts share a network, so each binds to its own address alone."""
    return {
        "ansible_host": host.address,
        "ansible_port": SSH_PORT,
        "address": host.address,
        "listen_address": host.address,
        "local_address": host.address,
        # SeaweedFS listens on 127.0.0.1 besides, which all hosts share, those of other tests too.
        "s3_backend_port": 18000 + int(host.address.rpartition(".")[2]),
    }


@contextlib.contextmanager
def _free_address() -> Iterator[str]:
    """Yield an address that no other host on this machine has, whoever started it."""
    folder = root.cache_folder() / "addresses"
    folder.mkdir(exist_ok=True)
    for number in _ADDRESSES:
        with (folder / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield f"127.0.1.{number}"
            return
    raise RuntimeError("all addresses of 127.0.1.0/24 are taken; end hosts of other tests")
