"""The table in docs/limits.md: what lies just within a limit is taken, and what lies just beyond is refused."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from fedtier.entries import partial_size_limit, update_size_limit
from fedtier.fields import MAX_METRICS_BYTES, sha256_hex
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT
from fedtier.rounds import RoundPlan, RoundStatus
from fedtier.serving import downloads, uploads
from fedtier.serving.digests import MAX_FIELD
from fedtier.serving.refusals import HEADER, MAX_REPORT
from fedtier.serving.shares import PARSED_AT_ONCE, ParsingRoom
from fedtier.store import RoundStore
from fedtier.tokens import ROLES, Role, TokenVerifier, generate_keys
from fedtier.upstream import content_digest
from tests.builders import partial_bytes, trained, update_bytes
from tests.masters import Master, publish_initial, put, rules, store_of
from tests.s3_servers import S3Server
from tests.tokens import presented

BODY = update_bytes(trained(1), 10)


@pytest.fixture(scope="module")
def published(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> RoundStore:
    store = store_of(s3_server)
    publish_initial(store, tmp_path_factory.mktemp("published"))
    return store


@pytest.fixture(scope="module")
def lenient(published: RoundStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """A master that counts many updates before its round closes."""
    with Master(published, tmp_path_factory.mktemp("lenient") / "state", rules(threshold=1000)) as master:
        yield master


def plan_of(master: Master) -> RoundPlan:
    return RoundStatus.from_json(master.http.get("/v1/round").data).plan


def outcome(answer: Response) -> tuple[int, str]:
    """Return the status and the name of the problem, if it is one."""
    document = json.loads(answer.data)
    return answer.status_code, str(document.get("type", "")).removeprefix("urn:fedtier:problem:")


def lengthened(body: bytes, header_bytes: int) -> bytes:
    """Return a safetensors file whose header was made so long with spaces."""
    length = int.from_bytes(body[:8], "little")
    return header_bytes.to_bytes(8, "little") + body[8 : 8 + length].ljust(header_bytes) + body[8 + length :]


def header_of(body: bytes) -> int:
    return int.from_bytes(body[:8], "little")


@pytest.mark.parametrize("length", [128, 129])
def test_ids(lenient: Master, length: int) -> None:
    within = length == 128
    for answer in (
        lenient.send_update("u" * length, BODY),
        lenient.send_partial(partial_bytes(plan_of(lenient), {"p": (trained(2), 5)}), batch_id="b" * length),
    ):
        assert outcome(answer) == ((200, "") if within else (400, "bad-request"))


def test_round_numbers(lenient: Master) -> None:
    assert outcome(lenient.send_update("a", BODY, 999_999_999)) == (409, "round-not-open")
    assert outcome(lenient.send_update("a", BODY, 1_000_000_000)) == (400, "bad-request")
    assert outcome(lenient.http.get("/v1/rounds/999999999/model")) == (404, "not-found")
    assert outcome(lenient.http.get("/v1/rounds/1000000000/model")) == (400, "bad-request")


def test_digits_of_content_length(lenient: Master) -> None:
    assert announce(lenient, "a", "9" * 15) == (413, "too-large")
    assert announce(lenient, "a", "9" * 16) == (400, "bad-request")


def announce(master: Master, client_id: str, length: str) -> tuple[int, str]:
    """Announce a body of which nothing may be read."""
    answer = master.http.put(
        f"/v1/rounds/1/updates/{client_id}",
        input_stream=_Untouched(),
        headers={"Content-Type": "application/octet-stream"},
        environ_overrides={"CONTENT_LENGTH": length},
    )
    return outcome(answer)


class _Untouched(io.BytesIO):
    """A body of which nothing comes."""

    def readinto(self, buffer: object, /) -> int:
        raise ConnectionResetError("nothing comes")


def test_bytes_of_an_update(lenient: Master) -> None:
    limit = update_size_limit(plan_of(lenient))
    longest = lengthened(BODY, header_of(BODY) + limit - len(BODY))
    assert len(longest) == limit
    assert outcome(lenient.send_update("long", longest)) == (200, "")
    assert outcome(lenient.send_update("longer", longest + b"x")) == (413, "too-large")


def test_bytes_of_a_partial(lenient: Master) -> None:
    plan = plan_of(lenient)
    body = partial_bytes(plan, {"long-partial": (trained(2), 5)})
    longest = lengthened(body, PARTIAL_HEADER_LIMIT)
    assert outcome(lenient.send_partial(longest)) == (200, "")
    longer = lengthened(partial_bytes(plan, {"longer": (trained(2), 5)}), PARTIAL_HEADER_LIMIT + 1)
    assert outcome(lenient.send_partial(longer)) == (422, "not-safetensors")
    too_long = longest + bytes(partial_size_limit(plan) - len(longest) + 1)
    assert outcome(lenient.send_partial(too_long)) == (413, "too-large")


def test_bytes_of_an_updates_header(lenient: Master) -> None:
    plan = plan_of(lenient)
    tensors = len(BODY) - 8 - header_of(BODY)
    limit = update_size_limit(plan) - tensors
    body = lengthened(BODY, limit + 1)[:-9]  # less data, so that the body itself is not too large
    assert len(body) == update_size_limit(plan)
    answer = lenient.send_update("header", body)
    assert outcome(answer) == (422, "not-safetensors")
    assert f"more than the {limit} allowed" in json.loads(answer.data)["detail"]


def test_headers_that_are_parsed_at_once(
    published: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    class Room(ParsingRoom):
        @contextmanager
        def take(self, wanted: int) -> Iterator[None]:
            taken.append(wanted)
            with super().take(wanted):
                yield

    monkeypatch.setattr(uploads, "ParsingRoom", Room)
    with Master(published, tmp_path / "state", rules(threshold=1000)) as master:
        partial = partial_bytes(plan_of(master), {"b": (trained(2), 5)})
        assert outcome(master.send_update("a", BODY)) == (200, "")
        assert outcome(master.send_partial(partial)) == (200, "")
        assert outcome(master.send_update("c", (1 << 62).to_bytes(8, "little"))) == (422, "not-safetensors")
    assert taken == [header_of(BODY), header_of(partial), 8], "of a length that is made up no more than there is"


def test_headers_of_partials_that_wait_to_be_counted(
    published: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, settled = ParsingRoom(), threading.Event()
    monkeypatch.setattr(uploads, "ParsingRoom", lambda: room)
    with Master(published, tmp_path / "state", rules(threshold=1000)) as master, ThreadPoolExecutor(1) as senders:
        settle, waits = master.tier.settle_partial, threading.Event()

        def settle_later(*arguments: Any) -> Any:
            waits.set()
            assert settled.wait(60)
            return settle(*arguments)

        monkeypatch.setattr(master.tier, "settle_partial", settle_later)
        partial = lengthened(partial_bytes(plan_of(master), {"a": (trained(2), 5)}), PARTIAL_HEADER_LIMIT)
        sending = senders.submit(master.send_partial, partial)
        assert waits.wait(60)
        assert room.free == PARSED_AT_ONCE - PARTIAL_HEADER_LIMIT
        settled.set()
        assert outcome(sending.result()) == (200, "")
        assert room.free == PARSED_AT_ONCE


def test_num_examples(lenient: Master) -> None:
    most = plan_of(lenient).max_examples
    assert outcome(lenient.send_update("most", update_bytes(trained(1), most))) == (200, "")
    for too_many in (most + 1, "9" * 18, "9" * 19, "9" * 5000):
        assert outcome(lenient.send_update("more", update_bytes(trained(1), too_many))) == (422, "out-of-range")


@pytest.mark.parametrize(("length", "expected"), [(4096, (200, "")), (4097, (400, "bad-request"))])
def test_bytes_of_metrics(lenient: Master, length: int, expected: tuple[int, str]) -> None:
    assert MAX_METRICS_BYTES == 4096
    metrics = '{"loss": 1.5}'.ljust(length)
    assert outcome(lenient.send_update("metrics", update_bytes(trained(1), 10, metrics))) == expected


def test_characters_of_content_digest(lenient: Master) -> None:
    digest = content_digest(sha256_hex(BODY))
    longest = f"{digest},x={':' + 'A' * (MAX_FIELD - len(digest) - 5) + ':'}"
    assert len(longest) == MAX_FIELD
    path = "/v1/rounds/1/updates/digest"
    assert outcome(put(lenient.http, path, BODY, {"Content-Digest": longest})) == (200, "")
    assert outcome(put(lenient.http, path, BODY, {"Content-Digest": longest + " "})) == (400, "bad-request")


def test_characters_of_a_report_of_refusals(lenient: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[dict[str, int]] = []
    monkeypatch.setattr(lenient.tier, "note_refused", noted.append)
    for length in (MAX_REPORT, MAX_REPORT + 1):
        lenient.http.get("/v1/round", headers={HEADER: "round-over=3".ljust(length - 9) + ",late=555"})
    assert noted == [{"round-over": 3}, {}]


def test_ranges(lenient: Master) -> None:
    def ask(wanted: str) -> TestResponse:
        return lenient.http.get("/v1/rounds/0/model", headers={"Range": wanted})

    with ask("bytes=0-0") as one:
        assert (one.status_code, len(one.data)) == (206, 1)
    with ask("bytes=0-0,2-2") as two:
        assert outcome(two) == (416, "range-not-satisfiable")
    with ask("bytes=" + ",".join(["0-0"] * 1000)) as many:
        assert outcome(many) == (416, "range-not-satisfiable")


def test_tags_and_queries_are_no_more_than_text(lenient: Master) -> None:
    tags = ", ".join(f'"{number}"' for number in range(1000))
    assert lenient.http.get("/v1/round", headers={"If-None-Match": tags}).status_code == 200
    assert lenient.http.get("/v1/round?" + "a=b&" * 1000).status_code == 200


# Shares of one client


PRIVATE, PUBLIC = generate_keys()
bearer = partial(presented, PRIVATE)


@pytest.fixture
def asking(published: RoundStore, tmp_path: Path) -> Iterator[Master]:
    """A master that asks for tokens; of its eight slots one client may take two."""
    with Master(published, tmp_path / "state", rules(threshold=1000), verifier=TokenVerifier([PUBLIC])) as master:
        yield master


class _Stalled(io.BytesIO):
    """A body that stands still until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def readinto(self, buffer: object, /) -> int:
        self.begun.set()
        assert self.may_end.wait(60)
        return 0


def upload(master: Master, client_id: str, stream: IO[bytes], role: Role = "client") -> TestResponse:
    path = f"updates/{client_id}" if role == "client" else f"partials/{client_id}"
    return master.http.put(
        f"/v1/rounds/1/{path}",
        input_stream=stream,
        headers={"Content-Type": "application/octet-stream", **bearer(role, client_id)},
        environ_overrides={"CONTENT_LENGTH": "100"},
    )


def stall(stack: ExitStack, start: Callable[[Any], Any], number: int) -> None:
    """Have uploads stand still until the stack ends."""
    pool = stack.enter_context(ThreadPoolExecutor(number))
    for _ in range(number):
        body = _Stalled()
        stack.callback(body.may_end.set)
        pool.submit(start, body)
        assert body.begun.wait(10)


def test_transfers_of_one_client_at_once(asking: Master) -> None:
    with ExitStack() as stack:
        stall(stack, lambda body: upload(asking, "greedy", body), 2)
        answer = upload(asking, "greedy", _Untouched())
        assert outcome(answer) == (429, "slow-down")
        assert answer.headers["Retry-After"] == "1"
        assert outcome(asking.http.get("/v1/rounds/0/model", headers=bearer("client", "greedy"))) == (429, "slow-down")
        assert outcome(asking.http.get("/v1/rounds/0/manifest", headers=bearer("client", "greedy")))[0] == 429
        assert asking.http.get("/v1/round", headers=bearer("client", "greedy")).status_code == 200

        assert outcome(asking.send_update("honest", BODY, headers=bearer("client", "honest"))) == (200, "")
        assert asking.http.get("/healthz").status_code == 200
    assert outcome(asking.send_update("greedy", BODY, headers=bearer("client", "greedy"))) == (200, "")


def test_transfers_of_all_at_once(asking: Master) -> None:
    with ExitStack() as stack:
        for number in range(4):
            stall(stack, lambda body, who=f"client-{number}": upload(asking, who, body), 2)  # type: ignore[misc]
        answer = upload(asking, "honest", _Untouched())
        assert outcome(answer) == (503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert asking.http.get("/healthz").status_code == 200
        assert asking.http.get("/readyz").status_code == 200
        assert asking.http.get("/v1/round", headers=bearer("client", "honest")).status_code == 200


def test_workers_have_no_share(asking: Master) -> None:
    with ExitStack() as stack:
        stall(stack, lambda body: upload(asking, "edge", body, "worker"), 7)
        answer = put(asking.http, "/v1/rounds/1/partials/b", b"no partial", bearer("worker", "edge"))
        assert outcome(answer) == (422, "not-safetensors")


def test_large_answers_need_a_slot_but_for_workers(asking: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SMALL_ANSWER", 100)

    def status(path: str, role: Role) -> int:
        with asking.http.get(path, headers=bearer(role, f"the-{role}")) as answer:
            return answer.status_code

    def statuses() -> list[int]:
        return [status("/v1/round", role) for role in ROLES]

    assert statuses() == [200, 200, 200]
    with ExitStack() as stack:
        stall(stack, lambda body: upload(asking, "edge", body, "worker"), 8)
        assert statuses() == [503, 200, 200]
        assert status("/v1/rounds/0/manifest", "client") == 503
    for _ in range(20):
        assert status("/v1/rounds/0/manifest", "client") == 200
    assert statuses() == [200, 200, 200]


def test_requests_of_one_client(asking: Master) -> None:
    statuses = [asking.http.get("/v1/round", headers=bearer("client", "greedy")).status_code for _ in range(2000)]
    first = statuses.index(429)
    assert first >= 200
    assert asking.http.get("/v1/round", headers=bearer("client", "patient")).status_code == 200
    assert asking.http.get("/v1/round", headers=bearer("worker", "greedy")).status_code == 200


def test_what_is_counted_or_refused_takes_nothing_of_the_spool(lenient: Master) -> None:
    assert outcome(lenient.send_update("counted", BODY)) == (200, "")
    assert outcome(lenient.send_update("counted", BODY)) == (200, "")
    assert outcome(lenient.send_update("refused", BODY[:-1])) == (422, "not-safetensors")
    assert lenient.state.spool_bytes == 0


def test_bytes_in_the_spool(published: RoundStore, tmp_path: Path) -> None:
    with Master(published, tmp_path / "state", rules(threshold=1000), spool_max=150) as master, ExitStack() as stack:
        stall(stack, lambda body: upload(master, "first", body), 1)
        answer = upload(master, "second", _Untouched())
        assert outcome(answer) == (503, "unavailable")
        assert "the spool is full: 100 of 150 bytes" in json.loads(answer.data)["detail"]
        assert answer.headers["Retry-After"] == "1"
        assert master.http.get("/readyz").status_code == 200
        stack.close()
        assert master.state.spool_bytes == 0
        assert announce(master, "third", "150") == (400, "bad-request"), "admitted, and nothing came"
        assert announce(master, "third", "151") == (503, "unavailable")
