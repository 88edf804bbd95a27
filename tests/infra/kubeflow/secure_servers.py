"""A server that speaks TLS, and answers whatever it is asked with the same."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.authorities import HOST


@contextmanager
def server(
    status: int, certificate: tuple[Path, Path], body: bytes = b"", asked: list[str | None] | None = None
) -> Iterator[str]:
    """Serve while the block runs, and give an address; who asked is noted, by the header that says so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"https://{HOST}:{listening.server_port}/readyz"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
