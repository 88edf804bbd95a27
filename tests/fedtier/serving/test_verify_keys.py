from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fedtier.problems import StartupError, Unauthenticated
from fedtier.serving.verify_keys import LOOK_SECONDS, VERIFY_KEYS, TokenRules, token_verifier
from fedtier.tokens import Bearer, Verifier, generate_keys
from tests.tokens import signed

CLIENT = Bearer("client", "client-3")
OLD, NEW = generate_keys(), generate_keys()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def verifier(
    value: str, clock: Clock | None = None, *, audience: str = "fedtier", revoked: Path | None = None
) -> Verifier:
    rules = TokenRules(audience=audience, revoked=revoked)
    made = token_verifier(rules, clock=clock or Clock(), environment={VERIFY_KEYS: value})
    assert made is not None
    return made


def token(signing: bytes, audience: str = "fedtier") -> str:
    return signed(signing, CLIENT.role, CLIENT.subject, audience=audience)


def takes(chosen: Verifier, signing: bytes) -> bool:
    try:
        return chosen.verify(token(signing)) == CLIENT
    except Unauthenticated:
        return False


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    for name, keys in (("old.pem", OLD), ("new.pem", NEW)):
        (tmp_path / name).write_bytes(keys[1])
    return tmp_path / "old.pem", tmp_path / "new.pem"


def test_verify_keys_are_pem_text_files_or_folders(paths: tuple[Path, Path]) -> None:
    text = (OLD[1] + NEW[1]).decode()
    for value in (text, os.pathsep.join(map(str, paths)), str(paths[0].parent)):
        assert takes(verifier(value), OLD[0])
        assert takes(verifier(value), NEW[0])
    assert not takes(verifier(str(paths[0])), NEW[0])


@pytest.mark.parametrize("value", ["", "  "])
def test_without_verify_keys_there_is_no_verifier(value: str) -> None:
    assert token_verifier(TokenRules(audience="fedtier"), environment={VERIFY_KEYS: value}) is None


def test_the_audience_is_the_servers(paths: tuple[Path, Path]) -> None:
    for value in (OLD[1].decode(), str(paths[0])):
        assert verifier(value, audience="hospitals").verify(token(OLD[0], "hospitals")) == CLIENT
        assert not takes(verifier(value, audience="hospitals"), OLD[0])


def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    folder, clock = tmp_path / "verify", Clock()
    folder.mkdir()
    (folder / "1.pem").write_bytes(OLD[1])
    chosen = verifier(str(folder), clock)
    (folder / "2.pem").write_bytes(NEW[1])
    assert not takes(chosen, NEW[0]), "it is not looked for changes with every request"
    clock.now += LOOK_SECONDS
    assert takes(chosen, NEW[0])
    assert takes(chosen, OLD[0])
    (folder / "1.pem").unlink()
    clock.now += LOOK_SECONDS
    assert takes(chosen, NEW[0])
    assert not takes(chosen, OLD[0])


def test_a_file_with_another_key_is_noticed(paths: tuple[Path, Path]) -> None:
    clock = Clock()
    chosen = verifier(str(paths[0]), clock)
    paths[1].replace(paths[0])
    clock.now += LOOK_SECONDS
    assert takes(chosen, NEW[0])
    assert not takes(chosen, OLD[0])


@pytest.mark.parametrize("content", [None, b"", b"half of a k", OLD[0]])
def test_keys_that_cannot_be_used_leave_those_before_them(paths: tuple[Path, Path], content: bytes | None) -> None:
    clock = Clock()
    with capture_logs() as logged:
        chosen = verifier(str(paths[0]), clock)
        if content is None:
            paths[0].unlink()
        else:
            paths[0].write_bytes(content)
        clock.now += LOOK_SECONDS
        assert takes(chosen, OLD[0])
    assert ["cannot be used" in line["event"] for line in logged] == [True]
    paths[1].replace(paths[0])
    clock.now += LOOK_SECONDS
    assert takes(chosen, NEW[0])


def test_a_server_gets_no_private_key(tmp_path: Path) -> None:
    (tmp_path / "signing-key.pem").write_bytes(OLD[0])
    (tmp_path / "verify-key.pem").write_bytes(OLD[1])
    for value in (OLD[0].decode(), str(tmp_path)):
        with pytest.raises(StartupError, match="holds a private key, which no server needs") as refused:
            verifier(value)
        assert "BEGIN" not in str(refused.value)


def test_a_folder_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"no public key found: no file in {tmp_path} ends with .pem"):
        verifier(str(tmp_path))


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.pem").write_bytes(OLD[1])
    (tmp_path / "2.pem").write_text("no key")
    with pytest.raises(StartupError, match=f"{tmp_path}/2.pem: a verify key is not an Ed25519 public key in PEM"):
        verifier(str(tmp_path))


def test_a_subject_is_turned_away_from_when_it_is_revoked_until_it_is_not(tmp_path: Path) -> None:
    revoked, clock = tmp_path / "revoked", Clock()
    revoked.touch()
    for value in (OLD[1].decode(), str(tmp_path / "old.pem")):
        (tmp_path / "old.pem").write_bytes(OLD[1])
        revoked.write_text("")
        chosen = verifier(value, clock, revoked=revoked)
        assert takes(chosen, OLD[0])
        revoked.write_text(f"{CLIENT.subject}  # its machine was stolen\n")
        clock.now += LOOK_SECONDS
        with pytest.raises(Unauthenticated, match="the tokens of 'client-3' are revoked; ask"):
            chosen.verify(token(OLD[0]))
        revoked.write_text(f"\ufeff{CLIENT.subject}\r\n", encoding="utf-8")  # as an editor on Windows may write it
        clock.now += LOOK_SECONDS
        assert not takes(chosen, OLD[0])
        revoked.write_text(f"{CLIENT.subject} no-time\n")
        clock.now += LOOK_SECONDS
        assert not takes(chosen, OLD[0])
        revoked.write_text("client-4")
        clock.now += LOOK_SECONDS
        assert takes(chosen, OLD[0])


def test_a_list_of_revocations_that_cannot_be_read_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(
        StartupError,
        match=r"nowhere cannot be read: No such file or directory; an empty file revokes nobody",
    ):
        verifier(OLD[1].decode(), revoked=tmp_path / "nowhere")


def test_revocations_without_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="needs tokens, and FEDTIER_VERIFY_KEYS is not set"):
        token_verifier(TokenRules(audience="fedtier", revoked=tmp_path), environment={})
