"""The API over HTTP, in the network of a cluster's pods, and the file by which the official client finds it."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.infra.containers.podman import Podman
from tests.infra.kubeflow import addressing
from tests.infra.kubeflow.api_server import Api, Refused


class Answering(Protocol):
    """What answers requests that are read already."""

    def answer(self, request: addressing.Request, body: Mapping[str, Any]) -> dict[str, Any] | str:
        """Do what is asked for, and return what there is to say, or raise `Refused`."""


def served(api: Api, podman: Podman, path: Path, namespace: str) -> contextlib.AbstractContextManager[None]:
    """Serve an API in the network of the containers while the block runs, and write the kubeconfig for it to `path`."""
    return listening(api, podman.network(), path, namespace)


@contextlib.contextmanager
def listening(
    api: Answering, network: contextlib.AbstractContextManager[object], path: Path, namespace: str
) -> Iterator[None]:
    """Serve what answers in a network while the block runs, and write the kubeconfig for it to `path`."""
    token = secrets.token_hex(16)
    with network:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api, token))
    server.daemon_threads = True
    # Its socket stays in the network that it was made in.
    thread = threading.Thread(target=server.serve_forever, name="api")
    thread.start()
    path.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}", token, namespace)))
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(url: str, token: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "runner", "user": {"token": token}}],
        "contexts": [{"name": "this", "context": {"cluster": "here", "user": "runner", "namespace": namespace}}],
        "current-context": "this",
    }


def _handler(api: Answering, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Or the body of every answer would wait for whoever asks to have said that its head has come.
        disable_nagle_algorithm = True

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            try:
                if self.headers.get("Authorization") != f"Bearer {token}":
                    raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "who is this?")
                request = addressing.read(self.command, self.path)
                if request is None:
                    raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f"this API has no {self.command} {self.path}")
                found = api.answer(request, json.loads(body) if body else {})
                status = HTTPStatus.CREATED if request.verb == "create" else HTTPStatus.OK
            except Refused as refused:
                status = refused.status
                found = {
                    "apiVersion": "v1",
                    "kind": "Status",
                    "status": "Failure",
                    "reason": refused.reason,
                    "code": status.value,
                    "message": str(refused),
                }
            self._answer(status, found)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815

        def _answer(self, status: HTTPStatus, found: dict[str, Any] | str) -> None:
            content, kind = (found, "text/plain") if isinstance(found, str) else (json.dumps(found), "application/json")
            body = content.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
