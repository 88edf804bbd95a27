"""A mirror of MNIST for pods, which reach nothing but each other and their node."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from client.datasets.mnist import FILES, public_sources
from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster.network import NODE
from tests.infra.programs import CHECKOUT, environment


@contextlib.contextmanager
def mnist_mirror(podman: Podman, folder: Path) -> Iterator[str]:
    """Serve the four files, gzipped, in the network of the containers; yield the address for pods."""
    # Where ./train.sh keeps them, too.
    cached = FILES.fetch(CHECKOUT / ".fedtier" / "data", public_sources(environment()))
    served = folder / "mnist"
    served.mkdir()
    for name, path in cached.items():
        with gzip.open(served / f"{name}.gz", "wb", compresslevel=1) as packed:
            packed.write(path.read_bytes())
    handler = functools.partial(_Silent, directory=os.fspath(served))
    with podman.network():
        server = ThreadingHTTPServer(("0.0.0.0", 0), handler)
    # Its socket stays in the network that it was made in.
    thread = threading.Thread(target=server.serve_forever, name="mirror")
    thread.start()
    try:
        yield f"http://{NODE}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
