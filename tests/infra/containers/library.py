"""The images that runs of the tests leave to the next: base images, and the layers of what was built on them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.infra.containers import settings
from tests.infra.containers.namespace import PREFIX, Namespace
from tests.infra.hosts.root import cache_folder

_KEPT_HOURS = 7 * 24
"""Images are made anew after this time: Debian's packages have been updated, and layers of old code pile up."""


def store() -> Path:
    """Return the folder of all images."""
    return _folder() / "images"


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Keep images from being removed while the context lasts."""
    with (_folder() / "in-use.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


class Builder:
    """A podman that changes the library, on the machine's network; while it is open, nobody else has one."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._namespace = Namespace(_folder(), own_network=False)
        self._environment: Mapping[str, str] = {}

    def __enter__(self) -> Builder:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((_folder() / "build.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._remove_left_folders()
            stack.enter_context(self._namespace)
            self._environment = settings.environment(self.folder / "settings", images=store())
            self._remove_left_containers()
            self._remove_old()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """A folder that is gone afterwards."""
        return self._namespace.folder

    def run(self, *words: str, timeout: float = 1800.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``podman WORDS``; a failure shows the end of what it printed."""
        return self._namespace.run("podman", *words, variables=self._environment, timeout=timeout, check=check)

    def identity(self, name: str) -> str | None:
        """Return the id of an image, if there is one of that name."""
        done = self.run("image", "inspect", "--format={{.Id}}", name, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def _remove_left_folders(self) -> None:
        """Remove what builders left whose whole machine, or container, was killed."""
        for folder in _folder().glob(f"{PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_left_containers(self) -> None:
        """Remove containers of builds that were killed; the images below them could never be removed."""
        if left := self.run("ps", "--all", "--external", "--quiet").stdout.split():
            self.run("rm", "--force", *left)

    def _remove_old(self) -> None:
        with (_folder() / "in-use.lock").open("w") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.run("image", "prune", "--all", "--force", f"--filter=until={_KEPT_HOURS}h")


def _folder() -> Path:
    folder = cache_folder() / "containers"
    folder.mkdir(exist_ok=True)
    return folder
