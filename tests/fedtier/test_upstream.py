from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedtier.bodies import BLOCK
from fedtier.problems import AlreadyCounted, BadRequest, DigestMismatch, NotFound, Problem, Unavailable
from fedtier.rounds import BaseRound, RoundStatus
from fedtier.upstream import Timeouts, Unreachable, Upstream, content_digest, file_sha256
from tests.builders import make_plan
from tests.client.loopback import Reply, Request, json_reply, problem_reply, serve
from tests.file_sizes import room_for

MODEL = bytes(range(256)) * (3 * BLOCK // 256)
IMPATIENT = Timeouts(connect=2.0, read=0.3)


def base_of(content: bytes, url: str = "/v1/rounds/6/model") -> BaseRound:
    return BaseRound(round=6, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), url=url)


@contextmanager
def asking(answer: Callable[[Request], Reply], **options: Any) -> Iterator[tuple[Upstream, list[Request]]]:
    """Yield an upstream that a function answers for, and what it is asked."""
    asked: list[Request] = []

    def note(request: Request) -> Reply:
        asked.append(request)
        return answer(request)

    with serve(note) as url, Upstream(url, **options) as upstream:
        yield upstream, asked


def status() -> RoundStatus:
    plan = make_plan()
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    return RoundStatus(**fields, state="collecting", counted=1, poll_after=0.5)


# The round


def test_an_unchanged_round_is_asked_for_by_its_etag_and_not_sent_again() -> None:
    def answer(request: Request) -> Reply:
        if request.headers.get("If-None-Match") == '"one"':
            return Reply(304)
        return Reply(200, status().to_json(), {"ETag": '"one"'})

    with asking(answer) as (upstream, asked):
        first = upstream.round_status()
        assert upstream.round_status() is first
        assert first == status()
        assert len(asked) == 2


def test_what_is_no_round_is_a_bad_request() -> None:
    with asking(lambda _: Reply(200, b"<html>")) as (upstream, _), pytest.raises(BadRequest, match="RoundStatus"):
        upstream.round_status()


# Refusals and silence


def test_a_refusal_comes_back_as_the_problem_it_is() -> None:
    counted = [{"client_id": "a", "sha256": "f" * 64}]
    sent = AlreadyCounted("some are", round=7, attempt=12, counted=counted)
    with (
        asking(lambda _: problem_reply(sent)) as (upstream, _),
        pytest.raises(AlreadyCounted, match="some are") as caught,
    ):
        upstream.manifest(1)
    assert caught.value.members == {"round": 7, "attempt": 12, "counted": counted, "status": 409}


@pytest.mark.parametrize(
    ("field", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("²", None), ("", None), ("soon", None), ("Wed, 21 Oct 2026 25:28:00 GMT", None)],
)
def test_retry_after_is_read_where_it_is_a_number(field: str, seconds: float | None) -> None:
    with (
        asking(lambda _: problem_reply(Unavailable("later"), Retry_After=field)) as (upstream, _),
        pytest.raises(Unavailable) as caught,
    ):
        upstream.manifest(1)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:26:00 GMT", 120.0),
        ("Wed, 21 Oct 2015 07:28:01 GMT", 0.0),
        ("just now", None),
        (None, None),
    ],
)
def test_retry_after_may_be_a_date_by_the_clock_of_the_server(date: str | None, seconds: float | None) -> None:
    fields = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Content-Length": "0", "Date": date}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    answer = f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode()
    with raw_server(answer) as url, Upstream(url) as upstream, pytest.raises(Problem) as caught:
        upstream.manifest(1)
    assert caught.value.retry_after == seconds


def test_a_refusal_that_is_no_problem_document_keeps_its_status() -> None:
    with (
        asking(lambda _: Reply(502, b"<html>bad gateway")) as (upstream, _),
        pytest.raises(Problem, match="502") as caught,
    ):
        upstream.manifest(1)
    assert caught.value.members["status"] == 502


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"{" * 9000, b"\xff"])
def test_a_malformed_problem_document_is_a_problem_all_the_same(body: bytes) -> None:
    with asking(lambda _: Reply(409, body)) as (upstream, _), pytest.raises(Problem) as caught:
        upstream.manifest(1)
    assert caught.value.members["status"] == 409


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        with Upstream(f"http://127.0.0.1:{port}") as upstream, pytest.raises(Unreachable, match="does not answer"):
            upstream.round_status()


def test_a_broken_connection_is_unreachable() -> None:
    with asking(lambda _: Reply(0)) as (upstream, _), pytest.raises(Unreachable):
        upstream.round_status()


def test_a_server_that_says_nothing_is_unreachable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Upstream(f"http://127.0.0.1:{silent.getsockname()[1]}", timeouts=IMPATIENT) as upstream,
        pytest.raises(Unreachable),
    ):
        upstream.round_status()


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """Answer every connection with these bytes and close it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_refusal_that_breaks_off_is_unreachable(tmp_path: Path) -> None:
    broken = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\n{"
    with raw_server(broken) as url, Upstream(url) as upstream, pytest.raises(Unreachable):
        upstream.download_model(base_of(MODEL), tmp_path / "model")


def test_what_is_not_http_is_unreachable() -> None:
    with raw_server(b"220 mail.example SMTP\r\n") as url, Upstream(url) as upstream, pytest.raises(Unreachable):
        upstream.round_status()


# Downloads


def ranged(request: Request) -> Reply:
    """Serve the model, as a whole or from where the asker wants."""
    field = request.headers.get("Range")
    if field is None:
        return Reply(200, MODEL)
    start = int(field.removeprefix("bytes=").removesuffix("-"))
    return Reply(206, MODEL[start:], {"Content-Range": f"bytes {start}-{len(MODEL) - 1}/{len(MODEL)}"})


def test_a_model_appears_complete_and_verified(tmp_path: Path) -> None:
    with asking(ranged) as (upstream, _):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MODEL) + MODEL[: 2 * BLOCK + 1000]
    with raw_server(broken) as url, Upstream(url) as upstream, pytest.raises(Unreachable, match="broke off"):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with asking(ranged) as (upstream, asked):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
        assert asked[0].headers["Range"] == f"bytes={2 * BLOCK}-"
    assert (tmp_path / "model").read_bytes() == MODEL


def test_a_download_that_finds_no_room_leaves_nothing_in_its_way(tmp_path: Path) -> None:
    with asking(lambda _: Reply(200, MODEL)) as (upstream, _):
        with room_for(2 * BLOCK), pytest.raises(OSError, match="too large"):
            upstream.download_model(base_of(MODEL), tmp_path / "model")
        assert list(tmp_path.iterdir()) == []
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL


def test_a_server_that_ignores_ranges_sends_it_anew(tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(MODEL[:1000])
    with asking(lambda _: Reply(200, MODEL)) as (upstream, _):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL


@pytest.mark.parametrize("left", [MODEL, MODEL + b"more", b""])
def test_whatever_an_earlier_try_left_is_completed_or_replaced(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "model.part").write_bytes(left)
    with asking(ranged) as (upstream, _):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL


def test_bytes_that_are_not_the_rounds_are_deleted(tmp_path: Path) -> None:
    with asking(lambda _: Reply(200, MODEL[:-1] + b"x")) as (upstream, _), pytest.raises(DigestMismatch):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_beginning_does_not_spoil_later_tries(tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(b"x" * 1000)
    with asking(ranged) as (upstream, _):
        with pytest.raises(DigestMismatch):
            upstream.download_model(base_of(MODEL), tmp_path / "model")
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL


def test_a_model_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with asking(lambda _: problem_reply(NotFound("no"))) as (upstream, _), pytest.raises(NotFound):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# Tokens


def test_every_request_to_the_server_carries_the_token() -> None:
    with asking(lambda _: Reply(200, status().to_json()), token=lambda: "secret") as (upstream, asked):
        upstream.round_status()
        assert asked[0].headers["Authorization"] == "Bearer secret"


def test_a_token_that_is_renewed_is_presented_from_the_next_request_on() -> None:
    tokens = iter(["old", "new", None])
    with asking(lambda _: Reply(200, status().to_json()), token=lambda: next(tokens)) as (upstream, asked):
        for _ in range(3):
            upstream.round_status()
    assert [request.headers.get("Authorization") for request in asked] == ["Bearer old", "Bearer new", None]


def test_a_redirect_does_not_carry_the_token_elsewhere(tmp_path: Path) -> None:
    elsewhere: list[Request] = []

    def serve_model(request: Request) -> Reply:
        elsewhere.append(request)
        return Reply(200, MODEL)

    with (
        serve(serve_model) as other,
        asking(lambda _: Reply(307, b"", {"Location": f"{other}/signed"}), token=lambda: "secret") as (upstream, asked),
    ):
        upstream.download_model(base_of(MODEL), tmp_path / "model")
        assert asked[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in elsewhere[0].headers


def test_a_model_named_by_another_servers_address_is_asked_for_without_the_token(tmp_path: Path) -> None:
    elsewhere: list[Request] = []

    def serve_model(request: Request) -> Reply:
        elsewhere.append(request)
        return Reply(200, MODEL)

    with serve(serve_model) as other, asking(ranged, token=lambda: "secret") as (upstream, _):
        upstream.download_model(base_of(MODEL, f"{other}/model"), tmp_path / "model")
    assert "Authorization" not in elsewhere[0].headers


def test_a_password_in_a_netrc_file_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with asking(lambda _: Reply(200, status().to_json())) as (upstream, asked):
        upstream.round_status()
        assert "Authorization" not in asked[0].headers


# Uploads


def test_a_file_is_sent_with_its_length_type_and_digest(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(MODEL)
    with asking(lambda _: json_reply({"counted": 3})) as (upstream, asked):
        answer = upstream.put_file("/v1/rounds/1/updates/a", body, sha256=file_sha256(body), headers={"X-More": "1"})
    assert answer == {"counted": 3}
    (request,) = asked
    assert (request.method, request.path, request.body) == ("PUT", "/v1/rounds/1/updates/a", MODEL)
    assert request.headers["Content-Length"] == str(len(MODEL))
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert request.headers["Content-Digest"] == content_digest(hashlib.sha256(MODEL).hexdigest())
    assert request.headers["X-More"] == "1"
    assert "Transfer-Encoding" not in request.headers


def test_an_empty_file_has_the_length_zero(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.touch()
    with asking(lambda _: json_reply({})) as (upstream, asked):
        upstream.put_file("/any", body, sha256=file_sha256(body))
    assert asked[0].headers["Content-Length"] == "0"


def test_an_answer_that_is_no_object_is_an_empty_receipt(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x")
    with asking(lambda _: Reply(200, json.dumps([1]).encode())) as (upstream, _):
        assert upstream.put_file("/any", body, sha256=file_sha256(body)) == {}
