"""As much of the Kubernetes API as kubectl needs to apply namespaces and Secrets: it keeps them, and no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml

Document = dict[str, Any]

_KINDS: Final = {"Namespace": ("namespaces", False), "Secret": ("secrets", True)}
_VERBS: Final = ["create", "get", "patch"]
_NOT_FOUND: Final = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


@dataclass
class Api:
    """What was applied, and how.

    Parameters
    ----------
    objects : dict of str to dict
        By path.
    applied : list of (str, dict)
        Path, and what the query said, of every change by the server's own apply, in order.
    """

    objects: dict[str, Document] = field(default_factory=dict)
    applied: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def secrets(self) -> dict[str, Document]:
        """The Secrets of the namespace, by name."""
        before = "/api/v1/namespaces/fedtier/secrets/"
        return {path.removeprefix(before): one for path, one in self.objects.items() if path.startswith(before)}


@contextmanager
def api_server(folder: Path) -> Iterator[tuple[Api, Path]]:
    """Serve an API while the block runs, and give it with the file by which kubectl finds it."""
    api = Api()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api, _kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(path: Path, url: str) -> Path:
    members = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "us", "user": {}}],
        "contexts": [{"name": "this", "context": {"cluster": "here", "user": "us"}}],
        "current-context": "this",
    }
    path.write_text(yaml.safe_dump(members))
    return path


def _described() -> dict[str, Document]:
    """Return what the API says of itself, by path."""
    resources = [
        {"name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": _VERBS}
        for kind, (name, namespaced) in _KINDS.items()
    ]
    paths = {
        "/api/v1/namespaces/{name}": _operation("Namespace"),
        "/api/v1/namespaces/{namespace}/secrets/{name}": _operation("Secret"),
    }
    return {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources},
        "/openapi/v3": {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=1"}}},
        "/openapi/v3/api/v1": {"openapi": "3.0.0", "info": {"title": "api", "version": "1"}, "paths": paths},
    }


def _operation(kind: str) -> Document:
    return {
        "patch": {
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind},
            "x-kubernetes-action": "patch",
            # kubectl leaves checking to a server that knows it.
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {"200": {"description": "OK"}},
        }
    }


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    described = _described()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            found = described.get(path) or api.objects.get(path)
            self._answer(404 if found is None else 200, found or _NOT_FOUND)

        def do_POST(self) -> None:
            made = self._body()
            api.objects[f"{urlsplit(self.path).path}/{made['metadata']['name']}"] = made
            self._answer(201, made)

        def do_PATCH(self) -> None:
            parts = urlsplit(self.path)
            api.objects[parts.path] = self._body()
            api.applied.append((parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}))
            self._answer(200, api.objects[parts.path])

        def _body(self) -> Document:
            body: Document = yaml.safe_load(self.rfile.read(int(self.headers["Content-Length"])))
            return body

        def _answer(self, status: int, document: Document) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
