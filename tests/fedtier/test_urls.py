from __future__ import annotations

from pathlib import Path

import pytest
import requests

from fedtier.urls import innermost_cause, is_url, shown_url
from tests.client.loopback import Reply, serve


@pytest.mark.parametrize("place", ["http://host/a.csv", "HTTPS://host", "s3://bucket/key", "file:///a"])
def test_what_starts_with_a_scheme_is_a_url(place: str) -> None:
    assert is_url(place)


@pytest.mark.parametrize("place", ["a.csv", "/a/b", "http:", "C://a", "a b://c", "", "://"])
def test_anything_else_is_a_path(place: str) -> None:
    assert not is_url(place)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:password@host:80/a/b.csv?signature=secret#part", "http://host:80/a/b.csv"),
        ("https://me@home@host/a", "https://host/a"),
        ("http://me:password@[::/a?signature=secret", "http://..."),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def failure(url: str) -> requests.RequestException:
    with pytest.raises(requests.RequestException) as caught:
        requests.get(url, timeout=5)
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "http://me:password@host:99999/a?signature=secret",
        "http://me:password@/a?signature=secret",
        "ftp://me:password@host/a?signature=secret",
        "me:password@host/a?signature=secret",
    ],
)
def test_a_url_that_is_none_keeps_its_secrets(url: str) -> None:
    assert innermost_cause(failure(url)) == "this is no http or https URL with a host, or leads to one that is none"


def test_a_url_that_one_is_sent_on_to_keeps_its_secrets() -> None:
    with serve(lambda _: Reply(302, headers={"Location": "ftp://host/a?signature=secret"})) as url:
        sentence = innermost_cause(failure(url))

    assert "secret" not in sentence


def test_a_cause_is_the_innermost_one() -> None:
    assert innermost_cause(failure("http://127.0.0.1:1/")) == "[Errno 111] Connection refused"


def test_a_cause_without_a_sentence_is_named() -> None:
    assert innermost_cause(EOFError()) == "EOFError"
    with pytest.raises(FileNotFoundError) as caught:
        Path("none").read_bytes()
    assert "No such file" in innermost_cause(caught.value)
