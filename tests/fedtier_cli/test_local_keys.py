from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedtier.claims import unverified_claims
from fedtier.problems import StartupError
from fedtier.serving.verify_keys import VERIFY_KEYS, TokenRules, token_verifier
from fedtier.token_sources import TOKEN_FILE, client_tokens, single_token, token_place
from fedtier.tokens import Bearer, TokenVerifier
from fedtier_cli.key_files import make_key_pair
from fedtier_cli.local_keys import LIFETIME, LocalKeys, local_keys, operator_token
from fedtier_cli.rundir import Federation, RunDirectory, claimed
from fedtier_cli.servers import chosen_server

NOW = datetime.now(UTC)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def keys(run: RunDirectory) -> LocalKeys:
    return local_keys(run, NOW)


def unexpected(sentence: str) -> None:
    raise AssertionError(sentence)


def test_servers_take_the_tokens_of_the_run_and_no_others(keys: LocalKeys, tmp_path: Path) -> None:
    verifier = token_verifier(TokenRules(audience="fedtier"), environment=keys.of_servers)
    assert verifier is not None
    worker = single_token(token_place(keys.of_workers), warn=unexpected)
    for source, bearer in ((worker, "worker"), (keys.operator, "operator")):
        assert source is not None
        assert verifier.verify(source() or "") == Bearer(bearer, f"local-{bearer}")  # type: ignore[arg-type]
    assert set(keys.of_workers) == {VERIFY_KEYS, TOKEN_FILE}
    (tmp_path / "other").mkdir()
    assert local_keys(RunDirectory(tmp_path / "other"), NOW).of_servers != keys.of_servers


def test_a_process_gets_the_tokens_of_the_clients_that_it_plays(keys: LocalKeys) -> None:
    verifier = TokenVerifier([keys.of_servers[VERIFY_KEYS].encode()])
    names = ["client-0", "client-2"]
    place = token_place(keys.of_clients("clients-0", names))
    for name, source in client_tokens(place, names, warn=unexpected).items():
        assert source is not None
        assert verifier.verify(source() or "") == Bearer("client", name)
    with pytest.raises(StartupError, match="no token of client-1"):
        client_tokens(place, ["client-1"], warn=unexpected)


def test_a_run_that_starts_again_keeps_its_keys_and_signs_new_tokens(run: RunDirectory, keys: LocalKeys) -> None:
    first = keys.operator
    assert first is not None
    before = unverified_claims(first() or "")["exp"]
    later = local_keys(run, NOW + LIFETIME / 2)
    assert later.signing_key == keys.signing_key
    assert unverified_claims(first() or "")["exp"] > before


def test_keys_and_tokens_are_for_their_owner_alone(run: RunDirectory, keys: LocalKeys) -> None:
    keys.of_clients("client-0", ["client-0"])
    for folder in (run.keys, run.tokens):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600] * len(list(folder.iterdir()))


def test_what_a_server_gets_holds_no_private_key(keys: LocalKeys) -> None:
    assert "PRIVATE" not in str(keys.of_servers)
    assert "eyJ" not in str(dict(keys.of_workers)), "tokens are in files"


def test_a_signing_key_that_is_damaged_is_named(run: RunDirectory, keys: LocalKeys) -> None:
    (run.keys / "signing-key.pem").write_text("-----BEGIN nothing")
    with pytest.raises(StartupError, match="not an Ed25519 private key"):
        local_keys(run, NOW)


def test_keys_that_keygen_made_are_used(run: RunDirectory) -> None:
    make_key_pair(run.keys)
    public = (run.keys / "verify-key.pem").read_text()
    assert local_keys(run, NOW).of_servers == {VERIFY_KEYS: public}


# Who asks the master of a local run


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """A command that asks a local run changes the environment of its process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunDirectory]:
    """The directory of a run that goes on."""
    with claimed(tmp_path / "run") as run:
        local_keys(run, NOW)
        note_master(run)
        yield run


def note_master(run: RunDirectory) -> None:
    run.write_federation(Federation(task="t", bucket="b", bucket_key="k", test_data="d", master="http://127.0.0.1:9"))


def test_whoever_names_a_local_run_asks_as_its_operator(served: RunDirectory) -> None:
    server = chosen_server(None, served.path, {})
    source = server.source()
    assert source is not None
    assert unverified_claims(source() or "")["role"] == "operator"


def test_a_token_of_the_environment_goes_before(served: RunDirectory) -> None:
    source = chosen_server(None, served.path, {"FEDTIER_TOKEN": "mine"}).source()
    assert source is not None
    assert source() == "mine"


def test_another_server_is_not_told_the_operators_token(served: RunDirectory) -> None:
    assert chosen_server("http://127.0.0.1:9", served.path, {}).source() is None


def test_whoever_listens_where_a_run_was_is_not_told_its_token(run: RunDirectory, keys: LocalKeys) -> None:
    note_master(run)
    assert chosen_server(None, run.path, {}).source() is None
    with claimed(run.path / "other") as other:
        local_keys(other, NOW)
        assert operator_token(other) is not None
    assert operator_token(other) is None


def test_a_run_of_before_there_were_keys_is_asked_without_a_token(tmp_path: Path) -> None:
    with claimed(tmp_path / "run") as run:
        assert operator_token(run) is None
