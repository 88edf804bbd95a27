"""`compose.yaml` as the programs that read it understand it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT, environment

FILE: Final = CHECKOUT / "compose.yaml"


def as_podman_compose_reads(**variables: str) -> dict[str, Any]:
    """Return the file with all that is merged and filled in, for somebody who has set some variables."""
    done = subprocess.run(
        [linter("podman-compose"), "--profile=operator", f"--file={FILE}", "config"],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert isinstance(read, dict)
    return read


def source(volume: str) -> str:
    """Return what a line of ``volumes`` mounts."""
    return volume.partition(":")[0]


def is_folder(volume: str) -> bool:
    """Say whether it is a folder of the machine, and no volume with a name."""
    return source(volume).startswith((".", "/")) or Path(source(volume)).is_absolute()
