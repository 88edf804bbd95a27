"""Small roots of Debian, made from where this machine's own packages come from."""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.infra.hosts import machine

SUITE = "bookworm"


def system() -> str | None:
    """Return which Linux this machine runs."""
    try:
        return platform.freedesktop_os_release().get("ID")
    except OSError:  # no Linux, or none that says which
        return None


def origin() -> str:
    """Return all that decides where packages come from, as text."""
    if not machine.apt_sources():
        raise RuntimeError("apt knows no packages of Debian; run apt-get update first")
    return "\n".join([SUITE, machine.apt_sources(), machine.apt_settings()])


def make_root(target: Path, packages: Sequence[str], *, preparation: str, options: Sequence[str] = ()) -> None:
    """Make a root folder, or an archive of one if `target` ends in ``.tar``.

    Parameters
    ----------
    preparation
        A script that runs in the root as the last step.
    options
        More of mmdebstrap's.
    """
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as name:
        folder = Path(name)
        (folder / "sources.list").write_text(machine.apt_sources())
        (folder / "apt.conf").write_text(machine.apt_settings())
        (folder / "prepare.sh").write_text(preparation)
        command = [
            # Whatever becomes of it, or of who asked for it, its mounts and processes end with it.
            *(
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ),
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}"),
            *(f"--aptopt={folder / 'apt.conf'}", *options),
            *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"),
            f"--customize-hook=chroot \"$1\" sh <'{folder / 'prepare.sh'}'",
            *(SUITE, str(target), str(folder / "sources.list")),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(f"no root of Debian can be made:\n{done.stderr[-4000:]}")
