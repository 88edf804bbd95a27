"""The images of this checkout, and a podman to run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.infra.containers.images import Built
from tests.infra.containers.podman import Podman

# As a cluster that takes no risks runs them.
CONFINED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)


@dataclass(frozen=True)
class Images:
    """A podman with the images of this checkout, and how they were built."""

    podman: Podman
    built: Mapping[str, Built]

    def command(self, target: str, *words: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the arguments of ``podman run`` for a confined container."""
        return (*CONFINED, *options, self.built[target].name, *words)

    def run(self, target: str, *words: str, program: str | None = None, options: tuple[str, ...] = ()) -> str:
        """Run a program, by default the image's own, to its end, and return what it printed."""
        entry = (f"--entrypoint={program}",) if program else ()
        return self.podman.output("run", "--rm", *self.command(target, *words, options=(*entry, *options)))

    def start(self, name: str, target: str, *words: str, options: tuple[str, ...] = ()) -> None:
        """Start the image's program in a container of that name."""
        self.podman.run("run", "--detach", f"--name={name}", *self.command(target, *words, options=options))


@pytest.fixture(scope="module")
def images(
    all_images: Mapping[str, str], built_images: Mapping[str, Built], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Images]:
    """Server and TensorBoard on Python 3.12, as they are shipped; what has torch on the Python that runs the tests.

    Registries that tests reach have a torch without CUDA for that one only.
    """
    with Podman(tmp_path_factory.mktemp("images"), all_images) as podman:
        yield Images(podman, built_images)
