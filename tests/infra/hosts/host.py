"""One host: started, rebooted and killed as one pulls a plug, and reached by ssh as any other."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.infra.hosts import machine
from tests.infra.hosts.root import USER

SSH_PORT = 2222
_BOOT = Path(__file__).with_name("boot.sh")
_CGROUPS = Path("/sys/fs/cgroup")
_SECONDS_TO_BOOT = 300.0
_SECONDS_TO_END = 60.0
_WHY = (
    "with an empty console, too many hosts may run for fs.inotify.max_user_instances, of which each takes about six; "
    "end others, or raise it by sysctl"
)


@dataclass(frozen=True, slots=True)
class Ssh:
    """The key that opens every host, and the file of their own keys."""

    key: Path
    known_hosts: Path

    @property
    def options(self) -> list[str]:
        """What ssh is told besides host, port, user and key."""
        return ["-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes"]


class Host:
    """A system in a container, on an overlay over the base root.

    Parameters
    ----------
    name
        Its host name.
    address
        Its address, 127.0.1.N, where it listens for ssh; other hosts have others of the same network.
    folder
        Where its files lie; what it wrote is there when it is started again.
    base
        The root that it stands on.
    shared
        Folders of this machine that it sees at the same place, read-only.
    """

    def __init__(
        self,
        name: str,
        address: str,
        folder: Path,
        base: Path,
        ssh: Ssh,
        shared: Iterable[Path],
    ) -> None:
        self.name = name
        self.address = address
        self._folder = folder
        self._base = base
        self._ssh = ssh
        self._shared = [f"--bind-ro={path}" for path in shared]
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: socket.socket | None = None

    def __repr__(self) -> str:
        return f"Host({self.name!r}, {self.address!r})"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def console(self) -> str:
        """What it printed on its console since it was made."""
        return (self._folder / "console.log").read_text(errors="replace")

    def power_on(self) -> None:
        """Let it boot; `wait_until_ready` says when it has."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        self._let_go()
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(exist_ok=True)
        notifications = f"@fedtier-test-{uuid.uuid4().hex}"
        with ExitStack() as stack:
            ready = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            ready.bind("\0" + notifications[1:])
            ready.settimeout(1.0)
            console = stack.enter_context((self._folder / "console.log").open("ab"))
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", str(_BOOT)),
                    *(str(self._base), str(self._folder), " ".join(map(str, self._own_cgroups()))),
                    *("--quiet", "--boot", f"--machine={self.name}", "--console=pipe", "--notify-ready=yes"),
                    *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
                    *self._shared,
                ],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": notifications},
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
            )
            stack.pop_all()
        console.close()
        self._ready = ready

    def start(self) -> None:
        """Let it boot, and return when ssh and all units that start by themselves are up."""
        self.power_on()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when a boot that was not waited for yet is over."""
        assert self._process is not None
        assert self._ready is not None
        until = time.monotonic() + _SECONDS_TO_BOOT
        while time.monotonic() < until:
            try:
                if b"READY=1" in self._ready.recv(4096).splitlines():
                    return
            except TimeoutError:
                if self._process.poll() is not None:
                    break
        raise RuntimeError(f"{self.name} did not boot; {_WHY}; the end of its console:\n{self.console[-3000:]}")

    def reboot(self) -> None:
        """Let it shut down in good order and boot again."""
        # It may be gone before ssh has an answer.
        self.ssh("sudo", "systemctl", "reboot", check=False)
        self.wait_until_ready()

    def kill(self) -> None:
        """End it as if its plug was pulled."""
        self._let_go()

    def ssh_command(self, *words: str) -> list[str]:
        """Return the command that runs another on it."""
        return [
            *("ssh", "-i", str(self._ssh.key), "-p", str(SSH_PORT), *self._ssh.options),
            *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", f"{USER}@{self.address}", "--", shlex.join(words)),
        ]

    def ssh(
        self, *words: str, stdin: str = "", check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it and return what came of it; a failure shows what it printed."""
        done = subprocess.run(
            self.ssh_command(*words), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{shlex.join(words)} on {self.name}: status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def _let_go(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_SECONDS_TO_END)
            finally:
                self._process.kill()
            self._process = None
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        for cgroup in self._own_cgroups(make=False):
            _remove_tree(cgroup)

    def _own_cgroups(self, *, make: bool = True) -> list[Path]:
        """Return a control group of its own in each hierarchy that systemd uses."""
        hybrid = [path for name in ("systemd", "unified") if (path := _CGROUPS / name / "cgroup.procs").exists()]
        parents: Sequence[Path] = [path.parent for path in hybrid] or [_CGROUPS]
        own = [parent / f"fedtier-test-{self.address}" for parent in parents]
        for path in own:
            if make:
                path.mkdir(exist_ok=True)
        return own


def seed(folder: Path, name: str, address: str, ssh: Ssh) -> None:
    """Write what a host is to find when it boots first: who it is, who may come in, where packages come from."""
    etc = folder / "upper" / "etc"
    keys = etc / "ssh"
    (keys / "sshd_config.d").mkdir(parents=True)
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (keys / "authorized_keys").write_text(ssh.key.with_suffix(".pub").read_text())
    (keys / "sshd_config.d" / "test.conf").write_text(
        f"ListenAddress {address}\nPort {SSH_PORT}\nAuthorizedKeysFile /etc/ssh/authorized_keys\n"
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\nMaxStartups 100\n"
    )
    make_key(keys / "ssh_host_ed25519_key", name)
    public = (keys / "ssh_host_ed25519_key.pub").read_text().split()
    with ssh.known_hosts.open("a") as known:
        known.write(f"[{address}]:{SSH_PORT} {public[0]} {public[1]}\n")
    _seed_registries(folder / "upper")


def make_key(path: Path, comment: str) -> None:
    """Make a pair of keys for ssh, without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)


def _seed_registries(upper: Path) -> None:
    settings, named = machine.pip_settings()
    authorities = machine.ca_bundle().read_bytes()
    files = {
        Path("etc/pip.conf"): settings.encode(),
        Path("etc/resolv.conf"): Path("/etc/resolv.conf").read_bytes(),
        Path("etc/environment"): "".join(f"{name}={value}\n" for name, value in machine.proxies().items()).encode(),
        # Both where programs look and where the next update of the bundle does.
        Path("usr/local/share/ca-certificates/machine.crt"): authorities,
        machine.CA_BUNDLE.relative_to("/"): authorities,
        **{path.relative_to("/"): path.read_bytes() for path in named if path.is_file()},
    }
    for path, content in files.items():
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).write_bytes(content)


def _remove_tree(cgroup: Path) -> None:
    if cgroup.is_dir():
        for child in cgroup.iterdir():
            if child.is_dir():
                _remove_tree(child)
        cgroup.rmdir()
