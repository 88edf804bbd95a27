"""A real master under gunicorn, as whoever connects sees it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import requests

from fedtier.dtypes import Array
from tests.builders import model_arrays, safetensors
from tests.s3_servers import S3Server

THREADS = 9  # all but eight may be uploads: one
PLAIN = ("-m", "master_aggregator")
_LISTENS = "0A"


def with_limits(**limits: float) -> tuple[str, str]:
    """Return a master that bears less, or more, from those who connect."""
    return (
        "-c",
        f"""
import functools
from fedtier.serving.front.limits import Limits
from master_aggregator import command
command.Limits = functools.partial(Limits, **{limits!r})
command.master()
""",
    )


@dataclass(frozen=True)
class Server:
    url: str
    spool: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def open(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30)

    @property
    def _serving(self) -> Path:
        """What the kernel says of the process that gunicorn started."""
        main = self.process.pid
        return Path("/proc") / Path(f"/proc/{main}/task/{main}/children").read_text().split()[0]

    @property
    def descriptors(self) -> int:
        return len(list((self._serving / "fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list((self._serving / "task").iterdir()))

    @property
    def connections(self) -> int:
        """How many connections it has accepted and not closed."""
        lines = (line.split() for line in (self._serving / "net" / "tcp").read_text().splitlines()[1:])
        here = [(state, inode) for _, local, _, state, *_, inode in (line[:10] for line in lines) if self._is(local)]
        return sum(state != _LISTENS and inode != "0" for state, inode in here)

    def _is(self, local: str) -> bool:
        return local.endswith(f":{self.address[1]:04X}")

    @property
    def counted(self) -> int:
        return int(self.get("/v1/round").json()["counted"])


def command(
    server: S3Server,
    folder: Path,
    *flags: str,
    program: tuple[str, str] = PLAIN,
    model: Mapping[str, Array] | None = None,
) -> list[str]:
    """Return the command line of a master."""
    (folder / "model.safetensors").write_bytes(safetensors(model or model_arrays()))
    return [
        *(sys.executable, *program, "--bucket_name", server.bucket, "--json"),
        *("--bucket_key", f"tests/{uuid.uuid4().hex}/model.safetensors", "--threshold", "50"),
        *("--web_model", str(folder / "model.safetensors"), "--state-dir", str(folder / "state")),
        *("--port", "0", "--threads", str(THREADS), *flags),
    ]


@contextmanager
def running(
    server: S3Server,
    folder: Path,
    *flags: str,
    program: tuple[str, str] = PLAIN,
    model: Mapping[str, Array] | None = None,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """Run a master for the while, and yield what is known of it; it may log to a file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FEDTIER_"))}
    with nullcontext() if log is None else log.open("w") as stderr:
        process = subprocess.Popen(
            command(server, folder, *flags, program=program, model=model),
            env=environment | dict(server.environment) | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        assert (announced["event"], announced["program"]) == ("listening", "master")
        yield Server(announced["url"], folder / "state" / "spool", process)
    finally:
        process.kill()
        process.communicate()


def put_headers(path: str, length: int, **more: str) -> bytes:
    fields = {"Host": "x", "Content_Length": str(length), "Content_Type": "application/octet-stream", **more}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"PUT {path} HTTP/1.1", *lines, "", ""]).encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read one whole answer and return its status and document."""
    with connection.makefile("rb") as stream:
        return next_answer(stream)


def next_answer(stream: IO[bytes]) -> tuple[int, dict[str, Any]]:
    """Read one whole answer of several."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, json.loads(stream.read(length))


def ended(connection: socket.socket) -> bool:
    """Read to the end; a reset is one too."""
    with suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass
    return True
