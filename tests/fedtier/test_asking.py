"""What is asked of a server: put together at little cost, and whole wherever it is sent on to."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from fedtier.tls import Tls
from fedtier.upstream import Upstream, file_sha256
from tests.client.loopback import Reply, Request, json_reply
from tests.fedtier.test_upstream import MODEL, asking, base_of, status

CALLS_OF_A_POLL: Final = 1600
"""Calls of functions, of which a request that `requests` puts together takes twice as many, and one of ours 1,050."""
POLLS: Final = 10


def calls_of_polls(upstream: Upstream) -> float:
    """Return how many functions are called for a poll, in Python or in C."""
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for _ in range(POLLS):
            upstream.round_status()
    finally:
        sys.setprofile(before)
    return calls / POLLS


def test_a_poll_that_finds_nothing_new_costs_little_however_much_is_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(100):
        monkeypatch.setenv(f"SOME_VARIABLE_{number}", "of no interest")

    def answer(request: Request) -> Reply:
        return Reply(304) if "If-None-Match" in request.headers else Reply(200, status().to_json(), {"ETag": '"one"'})

    with asking(answer, token=lambda: "secret") as (upstream, _):
        upstream.round_status()
        assert 0 < calls_of_polls(upstream) < CALLS_OF_A_POLL


def test_a_request_without_a_body_says_that_it_has_none() -> None:
    with asking(lambda _: Reply(200, status().to_json())) as (upstream, asked):
        upstream.pause_uploads()
        upstream.round_status()
    assert (asked[0].method, asked[0].headers["Content-Length"]) == ("POST", "0")
    assert "Content-Length" not in asked[1].headers


def test_an_upload_is_sent_on_whole(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(MODEL)
    sha256 = file_sha256(tmp_path / "body")
    with asking(lambda _: json_reply({"counted": 3})) as (other, there):
        sent_on = Reply(307, b"", {"Location": f"{other.url}/there"})
        with asking(lambda _: sent_on, token=lambda: "ours") as (upstream, here):
            assert upstream.put_file("/here", tmp_path / "body", sha256=sha256) == {"counted": 3}
    (first,), (second,) = here, there
    assert (second.method, second.path, second.body) == ("PUT", "/there", MODEL)
    assert (first.path, first.body) == ("/here", MODEL)
    assert second.headers["Content-Digest"] == first.headers["Content-Digest"]
    assert first.headers["Authorization"] == "Bearer ours"
    assert "Authorization" not in second.headers


def test_a_redirect_that_names_no_place_is_the_answer() -> None:
    with asking(lambda _: Reply(307, b"here", {"Location": ""})) as (upstream, asked):
        assert upstream.manifest(6) == b"here"
    assert len(asked) == 1


def test_a_proxy_s_password_is_told_to_no_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://somebody:secret@127.0.0.2:9")

    def answer(request: Request) -> Reply:
        return Reply(307, b"", {"Location": "/moved"}) if request.path == "/readyz" else Reply(200, b"{}")

    with asking(answer) as (upstream, asked):
        assert upstream.unready() is None
    assert [request.path for request in asked] == ["/readyz", "/moved"]
    assert all("Proxy-Authorization" not in request.headers for request in asked)


def test_a_proxy_is_told_its_password_also_where_a_redirect_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: Request) -> Reply:
        return Reply(307, b"", {"Location": "http://192.0.2.2/moved"}) if "192.0.2.1" in request.path else Reply()

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with asking(answer) as (proxy, asked):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("://", "://somebody:secret@"))
        with Upstream("http://192.0.2.1", token=lambda: "ours", tls=Tls(plain_http=True)) as upstream:
            assert upstream.unready() is None
    assert [request.path for request in asked] == ["http://192.0.2.1/readyz", "http://192.0.2.2/moved"]
    assert all(request.headers["Proxy-Authorization"].startswith("Basic ") for request in asked)
    assert [request.headers.get("Authorization") for request in asked] == ["Bearer ours", None]


def test_an_address_with_what_none_may_have_is_asked_for_in_the_form_that_may_be_sent(tmp_path: Path) -> None:
    with asking(lambda _: Reply(200, MODEL)) as (upstream, asked):
        upstream.download_model(base_of(MODEL, "/a model/\u00e9"), tmp_path / "model")
        assert asked[0].path == "/a%20model/%C3%A9"
