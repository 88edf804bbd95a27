"""The root folder that every host stands on: a small Debian, built once and kept outside the checkout."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.infra.hosts import debian, machine

USER = "admin"
_PACKAGES = (
    *("systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo"),
    *("ca-certificates", "iproute2", "procps", "python3", "python3-venv", "python3-apt"),
)
_PROGRAMS = ("mmdebstrap", "systemd-nspawn", "ssh", "ssh-keygen", "unshare")

# What an image of a cloud does too: a user who may become root, keys but no passwords, no host key that all share.
# The rest keeps tests apart: nothing updates itself meanwhile, nothing that is installed starts by itself on the
# network that all hosts share, and nothing waits for a disk that is thrown away.
_PREPARATION = f"""
set -eu
useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
rm -f /etc/ssh/ssh_host_*
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer console-getty.service
mkdir -p /var/log/journal
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io
"""


def why_not_here() -> str | None:
    """Return what keeps hosts from running on this machine, or nothing."""
    if debian.system() != "debian" or os.geteuid() != 0:
        return "hosts of its own need root on Debian"
    if missing := machine.missing_programs(*_PROGRAMS):
        return f"hosts of its own need {', '.join(missing)}; as root on Debian, scripts/infra.sh installs them"
    return None


@contextlib.contextmanager
def base_root() -> Iterator[Path]:
    """Yield the root, built if need be; it is not to be changed, and not removed meanwhile."""
    folder = cache_folder()
    recipe = "\n".join([*_PACKAGES, _PREPARATION, debian.origin()])
    root = folder / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with (folder / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not root.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not root.is_dir():  # somebody else may have built it meanwhile
                _remove_others(folder, root.name)
                _build(root)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield root


def cache_folder() -> Path:
    """Return the folder of what one run of the tests leaves to the next."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedtier-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _build(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{root.name}.", dir=root.parent) as name:
        folder = Path(name)
        # Hosts need not fetch the lists again.
        debian.make_root(folder / "root", _PACKAGES, preparation=_PREPARATION, options=["--skip=cleanup/apt/lists"])
        (folder / "root").rename(root)


def _remove_others(folder: Path, name: str) -> None:
    """Remove roots by other recipes that nobody stands on."""
    for lock_file in folder.glob("root-*.lock"):
        if lock_file.stem == name:
            continue
        with lock_file.open() as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder / lock_file.stem, ignore_errors=True)
            lock_file.unlink()
