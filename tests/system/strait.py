"""A way to a server, through which a test lets only a part of an upload pass, or no answer to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final, Self

from tests.system.federation import PATIENCE

_BLOCK: Final = 1 << 16


class Strait:
    """Listens on a free port of loopback, and passes on what comes to and from a server.

    Parameters
    ----------
    host, port : str, int
        Of the server.
    passing : int, optional
        Bytes of an upload's body that reach the server; without it all.
    answering : bool
        Whether answers to uploads come back.
    """

    def __init__(self, host: str, port: int, *, passing: int | None = None, answering: bool = True) -> None:
        self._server = host, port
        self._passing = passing
        self._answering = answering
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._held = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def await_held(self) -> None:
        """Return when it keeps something back: the rest of an upload, or an answer to one."""
        assert self._held.wait(PATIENCE), "nothing to keep back came"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                uploading = threading.Event()
                self._start(self._pass_up, client, server, uploading)
                self._start(self._pass_down, server, client, uploading)

    def _pass_up(self, client: socket.socket, server: socket.socket, uploading: threading.Event) -> None:
        with suppress(OSError), client.makefile("rb") as stream:
            while head := _read_head(stream):
                is_upload = head.startswith(b"PUT ")
                if is_upload:
                    uploading.set()
                server.sendall(head)
                self._pass_body(stream, server, _length(head), self._passing if is_upload else None)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _pass_body(self, stream: IO[bytes], server: socket.socket, length: int, passing: int | None) -> None:
        """Pass a body on, or its beginning; the rest is taken from the client, and goes nowhere."""
        open_for = length if passing is None else min(passing, length)
        while length:
            block = stream.read(min(_BLOCK, open_for or length))
            if not block:
                raise ConnectionResetError
            length -= len(block)
            if open_for:
                server.sendall(block)
                open_for -= len(block)
            else:
                self._held.set()

    def _pass_down(self, server: socket.socket, client: socket.socket, uploading: threading.Event) -> None:
        with suppress(OSError):
            while block := server.recv(_BLOCK):
                if uploading.is_set() and not self._answering:
                    self._held.set()
                else:
                    client.sendall(block)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _read_head(stream: IO[bytes]) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    return head


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
