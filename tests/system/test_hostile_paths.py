"""No path is built from a request's text: what a request names is read and written nowhere on the server's disk."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, send

pytestmark = pytest.mark.system

BAIT: Final = "bait-7c1f"
"""Content of files that lie where a path might lead to."""
NAMES: Final = (
    *("..", ".", "...", "../bait", "../../bait", "..%2f..%2fbait", "%2e%2e%2fbait", "%2e%2e/%2e%2e/bait"),
    *("%252e%252e%252fbait", "bait\0", "\xff", "\xe2\x80\xae"),
    *("..\\..\\bait", "..%5c..%5cbait", "%00", "bait%00.safetensors", "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd"),
    *(
        "file:///etc/passwd",
        "C:%5Cbait",
        "~",
        "~root",
        "$HOME",
        "%24%7BHOME%7D",
        "`id`",
        "|id",
        "%0abait",
        "%0d%0abait",
    ),
    *("%ef%bc%8e%ef%bc%8e%ef%bc%8fbait", "%c0%ae%c0%ae%c0%afbait", "%ff%fe", "caf%c3%a9", "%e2%80%ae", "-rf", "--help"),
    *("lock", "spool", "models", "plan.json", "close.json", "paused", "con", "a" * 129, "a" * 5000, "%61" * 1000, ""),
)
IDS: Final = ("plan.json", "lock", "commit-00000001.json", "a..b")
"""Good names of clients, which are files of an aggregator's own as well."""
OURS: Final = re.compile(
    r"lock|overdue|paused|spool|spares|spares/[0-9a-f]{32}|models|models/[0-9a-f]{64}\.safetensors"
    r"|tensorboard|tensorboard/events\.out\.tfevents\.[0-9]{10}\.fedtier"
    r"|round-[0-9]{6}-attempt-[0-9]+(/(plan|close|commit-[0-9]{8})\.json|/(base|model|[0-9a-f]{32})\.safetensors)?"
)
"""What an aggregator names itself, below its state directory."""


def requests_with(name: str) -> Iterator[tuple[str, str]]:
    """Yield requests that hold a name wherever one could be."""
    for number in ("1", name):
        yield "PUT", f"/v1/rounds/{number}/updates/{name}"
        yield "PUT", f"/v1/rounds/{number}/partials/{name}"
    yield "GET", f"/v1/rounds/{name}/model"
    yield "GET", f"/v1/rounds/{name}/manifest"
    yield "POST", f"/v1/rounds/{name}/close"
    yield "GET", f"/v1/{name}"
    yield "GET", f"/{name}"
    yield "GET", f"/static/{name}"
    yield "GET", f"/v1/rounds/0/model/{name}"
    yield "GET", f"/v1/rounds/9/model?file={name}"


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in sorted(folder.rglob("*"))
    }


def ask(aggregator: Aggregator, method: str, path: str) -> tuple[int, bytes]:
    """Send a request whose path goes out as it stands, and return the answer's status and body."""
    body = b"no model" if method == "PUT" else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        'Content-Disposition: attachment; filename="../../bait"\r\n'
        "X-Original-URL: /../../bait\r\nX-Sendfile: /etc/passwd\r\n\r\n"
    )
    with socket.create_connection((aggregator.host, aggregator.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode("latin-1") + body)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.parametrize("tier", ["master", "worker"])
def test_a_request_s_text_names_no_file(tier: str, federation: Federation, ten_updates: TenUpdates) -> None:
    for name in ("bait", "bait.safetensors", "passwd"):
        (federation.folder / name).write_text(BAIT)
    master = federation.master(ten_updates.model, "--threshold", "5")
    worker = federation.worker("worker", upstream=master.url)
    aggregator = {"master": master, "worker": worker}[tier]
    for client_id in IDS:
        send(aggregator.url, replace(ten_updates.updates[0], client_id=client_id), 1)
    # Whoever asks for the model has it fetched; what is on the disk then is all that there is to be.
    assert aggregator.get("/v1/rounds/0/model").status_code == 200
    await_empty_spools(master, worker)
    before = tree(federation.folder)

    for method, path in [request for name in NAMES for request in requests_with(name)]:
        status, answer = ask(aggregator, method, path)
        assert 300 <= status < 500, (method, path, status, answer[:300])
        assert BAIT.encode() not in answer
        assert b"root:" not in answer
        assert len(answer) < 2000, "only a little of a request's text is repeated"

    await_empty_spools(master, worker)
    after = tree(federation.folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"master.log", "worker.log"}
    for state_dir in (master.state_dir, worker.state_dir):
        assert [name for name in tree(state_dir) if not OURS.fullmatch(name)] == []


def await_empty_spools(*aggregators: Aggregator) -> None:
    for aggregator in aggregators:
        spool = aggregator.state_dir / "spool"
        aggregator.process.wait_until(lambda spool=spool: not any(spool.iterdir()), "the spool is empty")  # type: ignore[misc]
