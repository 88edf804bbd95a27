"""The federation of `compose.yaml` in a podman of its own, steered by podman-compose as a person would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.infra.compose.reading import FILE
from tests.infra.containers.podman import Podman
from tests.infra.programs import CHECKOUT

_NAME: Final = "fedtier"
_TAIL: Final = 6000


class Project:
    """What ``podman-compose`` does with the file, and what of it podman knows.

    Parameters
    ----------
    podman : Podman
        Running, with the images that the file names.
    program : str
        podman-compose.
    variables : Mapping of str to str
        The settings of whoever calls it.
    """

    def __init__(self, podman: Podman, program: str, variables: Mapping[str, str]) -> None:
        self._podman = podman
        self._program = program
        self._variables = variables

    def call(self, *words: str, timeout: float = 900.0, **variables: str) -> str:
        """Run ``podman-compose WORDS`` and return what it printed; a failure shows all of that."""
        done = subprocess.run(
            self._podman.inside(self._program, f"--file={FILE}", *words),
            cwd=CHECKOUT,
            # Without systemd nobody calls health checks from time to time; the tests call them.
            env={**self._podman.environment, "DISABLE_HC_SYSTEMD": "true", **self._variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, (
            f"podman-compose {words}: {done.returncode}\n{(done.stdout + done.stderr)[-_TAIL:]}"
        )
        return done.stdout

    def operator(self, *words: str) -> list[dict[str, Any]]:
        """Return what a command of the service ``operator`` prints as facts."""
        printed = self.call("--profile=operator", "run", "--rm", "-T", "operator", *words, "--json")
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

    def services(self) -> set[str]:
        """Return the services that have a container, ended ones too."""
        prefix, suffix = f"{_NAME}_", "_1"
        names = [name for found in self._podman.containers() for name in found["Names"]]
        return {name.removeprefix(prefix).removesuffix(suffix) for name in names}

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{_NAME}_{service}_1"

    def volume(self, name: str) -> Path:
        """Return the folder of a volume."""
        return Path(self._podman.output("volume", "inspect", "--format={{.Mountpoint}}", f"{_NAME}_{name}"))

    def mounted(self, service: str) -> list[Path]:
        """Return the folders of the volumes that a service mounts."""
        mounts = self._podman.inspect(self.container(service))["Mounts"]
        return [Path(mount["Source"]) for mount in mounts if mount["Type"] == "volume"]

    def left(self) -> list[str]:
        """Return containers, volumes and networks that are there, but for podman's own network."""
        found = [
            *self._podman.output("ps", "--all", "--format={{.Names}}").splitlines(),
            *self._podman.output("volume", "ls", "--format={{.Name}}").splitlines(),
            *self._podman.output("network", "ls", "--format={{.Name}}").splitlines(),
        ]
        return [name for name in found if name != "podman"]
