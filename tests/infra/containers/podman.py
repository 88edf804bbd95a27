"""Podman in namespaces of its own: containers on networks of theirs, of which nothing is left afterwards."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.infra.containers import library, settings
from tests.infra.containers.namespace import Namespace


class Podman:
    """A podman with images by name, running while the context lasts.

    Its containers, volumes and networks are its own; containers reach each other and nothing else. When the context
    ends, or the process that opened it dies, all of them are gone.

    Parameters
    ----------
    folder
        Where a folder for its files is made, and removed afterwards.
    images
        The id of each image that it is to have, by name: as the fixture `all_images` has them.

    Examples
    --------
    >>> with Podman(tmp_path, all_images) as podman:  # doctest: +SKIP
    ...     podman.run("network", "create", "--subnet=10.89.0.0/24", "federation")
    ...     podman.run("run", "--detach", "--name=web", "--network=federation", "docker.io/library/nginx:1.28")
    ...     address = podman.inspect("web")["NetworkSettings"]["Networks"]["federation"]["IPAddress"]
    ...     with podman.network():
    ...         requests.get(f"http://{address}/", timeout=10)
    """

    def __init__(self, folder: Path, images: Mapping[str, str]) -> None:
        self._namespace = Namespace(folder, own_network=True)
        self._images = images
        self._stack = contextlib.ExitStack()
        self.environment: Mapping[str, str] = {}
        """The variables by which podman, and what runs podman, finds its settings."""

    def __enter__(self) -> Podman:
        with contextlib.ExitStack() as stack:
            stack.enter_context(library.in_use())
            stack.enter_context(self._namespace)
            self.environment = settings.environment(
                self.folder / "settings", images=self.folder / "storage", library=library.store()
            )
            for name, identity in self._images.items():
                self.run("tag", identity, name)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """A folder that is gone afterwards, for files that containers mount."""
        return self._namespace.folder

    def inside(self, *words: str) -> list[str]:
        """Return the command that runs any other in the namespaces; it needs `environment` if it runs podman."""
        return self._namespace.command(*words)

    def network(self) -> contextlib.AbstractContextManager[None]:
        """Let this thread, and threads and processes that it starts, use the containers' network meanwhile."""
        return self._namespace.network()

    def run(
        self, *words: str, stdin: str = "", check: bool = True, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``podman WORDS`` and return what came of it; a failure shows the end of what it printed."""
        return self._namespace.run(
            "podman", *words, variables=self.environment, stdin=stdin, timeout=timeout, check=check
        )

    def output(self, *words: str, timeout: float = 300.0) -> str:
        """Return what ``podman WORDS`` prints, without the last line's end."""
        return self.run(*words, timeout=timeout).stdout.rstrip("\n")

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``podman WORDS`` as a process of this one; whoever starts it ends it."""
        return subprocess.Popen(self.inside("podman", *words), env=self.environment, text=True, **options)

    def exec(
        self, container: str, *words: str, check: bool = True, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return self.run("exec", container, *words, check=check, timeout=timeout)

    def logs(self, container: str) -> str:
        """Return what a container printed so far, on both of its outputs."""
        done = self.run("logs", container)
        return done.stdout + done.stderr

    def inspect(self, container: str) -> dict[str, Any]:
        """Return all that podman knows of a container."""
        [found] = json.loads(self.output("container", "inspect", container))
        assert isinstance(found, dict)
        return found

    def inspect_image(self, name: str) -> dict[str, Any]:
        """Return all that podman knows of an image."""
        [found] = json.loads(self.output("image", "inspect", name))
        assert isinstance(found, dict)
        return found

    def containers(self, *filters: str) -> list[dict[str, Any]]:
        """Return containers, ended ones too; `filters` as of ``podman ps``, such as ``label=app=worker``."""
        chosen = [f"--filter={one}" for one in filters]
        found = json.loads(self.output("ps", "--all", "--format=json", *chosen) or "[]")
        assert isinstance(found, list)
        return found

    def address(self, container: str, network: str) -> str:
        """Return a container's address in a network."""
        return str(self.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def wait(self, container: str, *, timeout: float = 300.0) -> int:
        """Wait until a container has ended and return its exit status."""
        return int(self.output("wait", container, timeout=timeout))
