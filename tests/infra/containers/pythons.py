"""Pythons of this machine, of versions that need not be the one that runs the tests."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def prefix_of(version: str) -> Path:
    """Return the folder of a Python ``3.N`` that could be moved elsewhere: it has a folder to itself.

    Raises
    ------
    LookupError
        There is none on this machine.
    """
    for command, environment in _candidates(version):
        prefix = _prefix(command, environment)
        if prefix is not None and prefix != Path("/usr") and (prefix / "bin" / f"python{version}").is_file():
            return prefix
    raise LookupError(f"no Python {version} in a folder of its own is on this machine")


def _candidates(version: str) -> Iterator[tuple[str, dict[str, str]]]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable, {}
    program = shutil.which(f"python{version}")
    if program is None:
        return
    yield program, {}
    if pyenv := shutil.which("pyenv"):
        # Its programs run the version that they are told, and fail when that has no such program.
        listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, timeout=60, check=False)
        for name in listed.stdout.split():
            if name == version or name.startswith(f"{version}."):
                yield program, {"PYENV_VERSION": name}


def _prefix(command: str, environment: dict[str, str]) -> Path | None:
    done = subprocess.run(
        [command, "-I", "-c", "import sys; print(sys.base_prefix)"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None
