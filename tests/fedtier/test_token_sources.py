from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from fedtier.problems import StartupError
from fedtier.token_sources import TOKEN, TOKEN_FILE, TokenPlace, client_tokens, single_token, token_place
from fedtier.tokens import Bearer, generate_keys, make_token

SIGNING, _ = generate_keys()
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def token(subject: str, *, lifetime: timedelta = 30 * DAY) -> str:
    return make_token(SIGNING, Bearer("client", subject), now=NOW, lifetime=lifetime)


class Warnings(list[str]):
    def __call__(self, sentence: str) -> None:
        self.append(sentence)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def held(path: Path, *tokens: str) -> TokenPlace:
    """Write tokens to a file as a careful renewal does."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text("\n".join(tokens) + "\n")
    new.replace(path)
    return TokenPlace(file=path)


# Where tokens are


def test_the_token_is_in_a_variable_or_in_the_file_that_one_names(tmp_path: Path) -> None:
    path = tmp_path / "token"
    held(path, "abc")
    for environment in ({TOKEN: " abc \n"}, {TOKEN_FILE: str(path)}, {TOKEN: "", TOKEN_FILE: str(path)}):
        source = single_token(token_place(environment), warn=Warnings())
        assert source is not None
        assert source() == "abc"
    assert token_place({}) is None
    assert single_token(None, warn=Warnings()) is None


def test_two_places_are_one_too_many() -> None:
    with pytest.raises(StartupError, match="FEDTIER_TOKEN and FEDTIER_TOKEN_FILE are both set"):
        token_place({TOKEN: "abc", TOKEN_FILE: "file"})


def test_a_token_is_not_printed() -> None:
    assert "abc" not in repr(token_place({TOKEN: "abc"}))


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"a\x00b", "ä".encode()])
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=str(path)):
        single_token(TokenPlace(file=path), warn=Warnings())


def test_who_presents_one_token_is_not_given_several() -> None:
    with pytest.raises(StartupError, match="FEDTIER_TOKEN holds 2 tokens, and this program presents one"):
        single_token(TokenPlace("abc def"), warn=Warnings())


# Renewal


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, warnings = tmp_path / "token", Warnings()
    source = single_token(held(path, "old"), warn=warnings)
    assert source is not None
    assert source() == "old"
    held(path, "new")
    assert source() == "new"
    path.write_text("newer")
    assert source() == "newer"
    assert warnings == []


def test_while_a_file_cannot_be_read_the_token_before_is_presented(tmp_path: Path) -> None:
    path, warnings = tmp_path / "token", Warnings()
    source = single_token(held(path, "old"), warn=warnings)
    assert source is not None
    path.unlink()
    assert [source(), source()] == ["old", "old"]
    [sentence] = warnings
    assert str(path) in sentence
    held(path, "new", "newer")
    assert [source(), source()] == ["old", "old"]
    assert len(warnings) == 2
    held(path, "new")
    assert source() == "new"


@pytest.mark.parametrize(
    ("lifetime", "quiet"), [(30 * DAY, 24 * DAY), (365 * DAY, 358 * DAY), (timedelta(hours=1), timedelta(minutes=48))]
)
def test_who_presents_a_token_that_is_about_to_expire_is_told_once(lifetime: timedelta, quiet: timedelta) -> None:
    clock, warnings = Clock(), Warnings()
    source = single_token(TokenPlace(token("w-1", lifetime=lifetime)), warn=warnings, now=clock)
    assert source is not None
    clock.now = NOW + quiet - timedelta(seconds=1)
    source()
    assert warnings == []
    clock.now = NOW + quiet + timedelta(seconds=1)
    source()
    source()
    [sentence] = warnings
    assert sentence.startswith(f"the token of 'w-1' in FEDTIER_TOKEN expires at {NOW + lifetime:%Y-%m-%d %H:%M} UTC; ")
    clock.now = NOW + lifetime
    source()
    assert "expired at" in warnings[1]


def test_a_renewed_token_is_watched_anew(tmp_path: Path) -> None:
    clock, warnings, path = Clock(), Warnings(), tmp_path / "token"
    source = single_token(held(path, token("w-1", lifetime=DAY)), warn=warnings, now=clock)
    assert source is not None
    for days in (0.9, 1.9):
        clock.now = NOW + days * DAY
        source()
        held(path, token("w-1", lifetime=2 * DAY))
        source()
    assert len(warnings) == 2


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file's mode does not say who may read it")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o440, 0), (0o604, 1), (0o644, 1)])
def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path, mode: int, warned: int) -> None:
    path, warnings = tmp_path / "token", Warnings()
    place = held(path, "abc")
    path.chmod(mode)
    client_tokens(place, ["a"], warn=warnings)
    single_token(place, warn=warnings)
    assert [f"chmod 600 {path}" in sentence for sentence in warnings] == [True] * 2 * warned


# Several clients in one process


def test_each_client_presents_the_token_of_its_name(tmp_path: Path) -> None:
    names, warnings = ["a", "b", "c"], Warnings()
    tokens = {name: token(name) for name in names}
    place = held(tmp_path / "tokens", *reversed(tokens.values()))
    sources = client_tokens(place, names, warn=warnings, now=Clock())
    assert {name: source and source() for name, source in sources.items()} == tokens
    assert warnings == []
    assert client_tokens(None, names, warn=warnings) == {"a": None, "b": None, "c": None}


def test_of_two_tokens_of_a_client_the_one_that_lasts_longer_is_presented() -> None:
    short, long = token("a", lifetime=DAY), token("a", lifetime=2 * DAY)
    for text in (f"{short} {long}", f"{long}\n{short}"):
        source = client_tokens(TokenPlace(text), ["a"], warn=Warnings(), now=Clock())["a"]
        assert source is not None
        assert source() == long


def test_a_client_without_a_token_among_others_is_named() -> None:
    place = TokenPlace(f"{token('a')} garbage")
    with pytest.raises(StartupError, match="no token of b, but 2 of others; add what fedtier token --role client"):
        client_tokens(place, ["a", "b"], warn=Warnings(), now=Clock())


def test_a_client_with_the_token_of_another_is_warned_before_the_server_refuses_it() -> None:
    warnings = Warnings()
    source = client_tokens(TokenPlace(token("b")), ["a"], warn=warnings, now=Clock())["a"]
    assert source is not None
    assert source() == token("b")
    assert warnings == ["FEDTIER_TOKEN is a token of 'b', not of 'a'; the server will refuse its updates"]


@pytest.mark.parametrize("claims", [{"exp": 10**400}, {"exp": -1, "iat": True}, {"exp": "soon", "sub": 5}, {}])
def test_what_a_strange_token_says_of_its_end_brings_nobody_down(claims: dict[str, object]) -> None:
    odd = jwt.encode(claims, SIGNING, algorithm="EdDSA")
    source = client_tokens(TokenPlace(odd), ["a"], warn=Warnings(), now=Clock())["a"]
    assert source is not None
    assert source() == odd
