"""What is asked of a server one tier up, and fails, names no token or presigned URL, in no sentence or traceback."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from fedtier.logs import configure_logging
from fedtier.problems import Problem, StartupError
from fedtier.rounds import BaseRound
from fedtier.token_sources import TokenPlace, single_token
from fedtier.upstream import Unreachable, Upstream
from tests.client.loopback import Reply, Request, serve

SIGNATURE: Final = "1f4cf5e6ab9d4c40"
QUERY: Final = f"?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature={SIGNATURE}"
CONTENT: Final = b"the model"
BASE: Final = BaseRound(
    round=0, sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT), url="/v1/rounds/0/model"
)


@contextmanager
def redirecting(elsewhere: str, token: str | None = None) -> Iterator[Upstream]:
    with (
        serve(lambda _: Reply(307, headers={"Location": elsewhere})) as url,
        Upstream(url, token=lambda: token) as upstream,
    ):
        yield upstream


def told(upstream: Upstream, folder: Path) -> str:
    """Return all that an operator could come to see of a download that fails, causes included."""
    with pytest.raises((Unreachable, Problem)) as failed:
        upstream.download_model(BASE, folder / "model")
    return "".join(traceback.format_exception(failed.value))


def refused(_: Request) -> Reply:
    return Reply(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")


def broken_off(_: Request) -> Reply:
    return Reply(0)


def too_short(_: Request) -> Reply:
    return Reply(200, b"another", {"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [(refused, "answered 403"), (broken_off, "does not answer"), (too_short, "broke off a download")],
)
def test_a_presigned_url_that_fails_is_named_without_its_signature(
    answer: Callable[[Request], Reply], words: str, tmp_path: Path
) -> None:
    with serve(answer) as s3, redirecting(f"{s3}/bucket/model{QUERY}") as upstream:
        seen = told(upstream, tmp_path)
    assert words in seen
    assert SIGNATURE not in seen
    assert "X-Amz" not in seen


@pytest.mark.parametrize(
    "elsewhere",
    [
        *("http://127.0.0.1:9/bucket/model", "https://127.0.0.1:9/model"),
        *("s3://bucket/model", "http://", "http://[", "http://127.0.0.1:port/model", "http://\xff\xfe/", "http://*/"),
    ],
)
def test_a_presigned_url_that_leads_nowhere_is_not_named(elsewhere: str, tmp_path: Path) -> None:
    with redirecting(elsewhere + QUERY) as upstream:
        seen = told(upstream, tmp_path)
    assert "does not answer" in seen or "is plain HTTP" in seen
    assert SIGNATURE not in seen
    assert "X-Amz" not in seen


def test_a_redirect_that_never_ends_is_not_named(tmp_path: Path) -> None:
    with serve(lambda request: Reply(307, headers={"Location": f"/again{QUERY}"})) as url, Upstream(url) as upstream:
        assert SIGNATURE not in told(upstream, tmp_path)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", '{"token": "x"}', "caf\u00e9"])
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(StartupError, match="FEDTIER_TOKEN") as refusal:
        single_token(TokenPlace(token), warn=lambda _: None)
    assert token not in str(refusal.value)


def test_a_redirect_gets_no_password_of_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password not-for-strangers\n")
    monkeypatch.setenv("NETRC", str(netrc))
    asked: list[Request] = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply(200, CONTENT)

    with serve(answer) as s3, redirecting(s3 + "/model", token="a.b.c") as upstream:
        upstream.download_model(BASE, tmp_path / "model")
    assert asked
    assert all("Authorization" not in request.headers for request in asked)


def test_a_redirect_on_the_same_server_still_has_the_token(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def answer(request: Request) -> Reply:
        seen.append(request.headers.get("Authorization"))
        if request.path == BASE.url:
            return Reply(307, headers={"Location": "/moved"})
        return Reply(200, CONTENT)

    with serve(answer) as url, Upstream(url, token=lambda: "a.b.c") as upstream:
        upstream.download_model(BASE, tmp_path / "model")
    assert seen == ["Bearer a.b.c"] * 2


def test_the_http_library_writes_no_url_into_a_program_s_log() -> None:
    configure_logging("client")
    assert not logging.getLogger("urllib3.connection").isEnabledFor(logging.WARNING)
