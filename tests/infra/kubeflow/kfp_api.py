"""As much of the API of Kubeflow Pipelines as it takes to submit a run and to follow it, over real HTTP.

What becomes of a run is told by its `Course`: one that is written down, or one that really runs what was submitted.
Answers have the form of those of Kubeflow Pipelines 2: of a task they tell the key and the state, not what went wrong,
nor in which pod; and times that have not come yet are the beginning of 1970.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

Document = dict[str, Any]

RUN: Final = "0f7b2c4e-5d1a-4c6b-9e3f-8a7d6c5b4a39"
_APIS: Final = "/apis/v2beta1"
_NEVER: Final = "1970-01-01T00:00:00Z"


class Course(Protocol):
    """What becomes of a run."""

    def submitted(self, run: Document) -> None:
        """Get the run as it was submitted."""

    def look(self) -> Document:
        """Return ``state``, ``run_details`` and what else a run's document says of how it stands."""
        ...


@dataclass
class Written:
    """A course that is written down: one document for each look, the last for all that follow.

    Parameters
    ----------
    looks : Sequence of dict
    runs : list of dict
        What was submitted.
    """

    looks: Sequence[Document]
    runs: list[Document] = field(default_factory=list)
    _seen: int = 0

    def submitted(self, run: Document) -> None:
        """Keep it."""
        self.runs.append(run)

    def look(self) -> Document:
        """Return the next."""
        self._seen += 1
        return self.looks[min(self._seen, len(self.looks)) - 1]


@dataclass
class KfpApi:
    """A service.

    Parameters
    ----------
    course : Course
    multi_user : bool
    token : str or None
        That requests have to bring.
    refusals : list of (int, dict)
        Statuses and answers that the next requests for a run get, in order.
    experiments : list of dict
    asked : list of str
        Method and path of each request, and the namespace that it named.
    """

    course: Course
    multi_user: bool = False
    token: str | None = None
    refusals: list[tuple[int, Document]] = field(default_factory=list)
    experiments: list[Document] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _made: Document = field(default_factory=dict)

    def answer(self, method: str, target: str, body: Document, token: str) -> tuple[int, Document]:
        """Return the status and the document that answer a request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(f"{method} {parts.path} {query.get('namespace', '')}".strip())
        if self.token is not None and token != f"Bearer {self.token}":
            return 401, {"code": 16, "message": "Unauthenticated: the token is not one of ours", "details": []}
        return self._answer(method, parts.path, query, body)

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Document) -> tuple[int, Document]:
        match method, path.removeprefix(_APIS):
            case "GET", "/healthz":
                return 200, {"multi_user": self.multi_user}
            case "GET", "/experiments":
                return 200, {"experiments": self._found(query)}
            case "POST", "/experiments":
                self.experiments.append({**body, "experiment_id": f"experiment-{len(self.experiments)}"})
                return 200, self.experiments[-1]
            case "POST", "/runs":
                self._made = {**body, "run_id": RUN}
                self.course.submitted(body)
                return 200, {**self._made, "state": "PENDING"}
            case "GET", wanted if wanted == f"/runs/{RUN}" and self._made:
                return self.refusals.pop(0) if self.refusals else (200, {**self._made, **self.course.look()})
        return 404, {"code": 5, "message": f"{path} is not here", "details": []}

    def _found(self, query: Mapping[str, str]) -> list[Document]:
        [wanted] = json.loads(query["filter"])["predicates"]
        assert (wanted["operation"], wanted["key"]) == ("EQUALS", "display_name")
        return [
            one
            for one in self.experiments
            if (one["display_name"], one.get("namespace")) == (wanted["stringValue"], query.get("namespace"))
        ]


def task(key: str, state: str, *, number: int = 0, started: int = 0, seconds: int | None = None) -> Document:
    """Return a node of a run as the API tells of it.

    Parameters
    ----------
    key, state : str
    number : int
        Tells it from others of the same key.
    started : int
        Minutes after twelve.
    seconds : int or None
        That it took.
    """
    minute = f"2026-05-01T12:{started:02}"
    return {
        "task_id": f"{key}-{number}",
        "display_name": key,
        "state": state,
        "create_time": "2026-05-01T12:00:00Z",
        "start_time": f"{minute}:00Z",
        "end_time": _NEVER if seconds is None else f"{minute}:{seconds:02}Z",
    }


def run(state: str, *tasks: Document, **more: Any) -> Document:
    """Return how a run stands."""
    return {"state": state, "run_details": {"task_details": list(tasks)}, **more}


@contextmanager
def serving(api: KfpApi, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve an API while the block runs, and give its address; with files of a certificate and its key, by TLS."""
    with listening(_handler(api), tls) as host:
        yield host


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Answer requests while the block runs, and give the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(api: KfpApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Document) -> None:
            status, document = api.answer(self.command, self.path, body, self.headers.get("authorization", ""))
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
