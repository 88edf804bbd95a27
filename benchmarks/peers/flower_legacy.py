"""Flower's legacy server and clients: `start_server` and `start_client`, one gRPC stream per client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.programs import Programs, listens
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work
from fedtier_cli.seaweed import free_ports

_APPS = Path(__file__).parent / "apps"
_DEFAULT_MESSAGE_BYTES = 512 << 20
_LARGEST_MESSAGE_BYTES = (2 << 30) - 1
_START_SECONDS = 300.0


def start(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Start the server, then the clients, as the documentation has them; return the server's process."""
    return _start(work, venv, programs, "flower_legacy")


def start_tuned(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Do the same with a server that adds up updates as they come, and tensors as bare bytes."""
    return _start(work, venv, programs, "flower_legacy_tuned")


def _start(work: Work, venv: Venv, programs: Programs, app: str) -> Sequence[int]:
    (port,) = free_ports(1)
    address, message_bytes = f"127.0.0.1:{port}", str(largest_message(work.outline.nbytes))
    server = programs.start("server", [venv.python, str(_APPS / f"{app}_server.py"), address, message_bytes])
    programs.await_that(lambda: listens(port), "the server listens", _START_SECONDS)
    for client in range(work.clients):
        words = [venv.python, str(_APPS / f"{app}_client.py"), address, message_bytes, str(client)]
        programs.start(f"client-{client}", words)
    return [server]


def largest_message(model_bytes: int) -> int:
    """Return the limit to set: Flower's own default, raised for models that it would refuse, up to gRPC's own."""
    return min(max(_DEFAULT_MESSAGE_BYTES, 2 * model_bytes), _LARGEST_MESSAGE_BYTES)
