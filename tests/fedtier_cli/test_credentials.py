from __future__ import annotations

import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from cryptography import x509

from fedtier.problems import StartupError, Unauthenticated
from fedtier.tokens import Bearer, TokenVerifier, generate_keys
from fedtier_cli.authority import new_key
from fedtier_cli.credentials import CredentialFolder, Members, read_s3_credentials
from fedtier_cli.main import main

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
MEMBERS = Members(
    federation="hospitals",
    servers={"master-0": ["127.0.0.1", "master.example.org"], "worker-0": ["::1"]},
    workers=["worker-0"],
    clients=["client-0"],
)
ALL = [
    "keys/signing-key.pem",
    "keys/verify-key.pem",
    "authority/ca-key.pem",
    "authority/ca.pem",
    "servers/master-0-key.pem",
    "servers/master-0.pem",
    "servers/worker-0-key.pem",
    "servers/worker-0.pem",
    "tokens/worker-worker-0.token",
    "tokens/client-client-0.token",
    "tokens/operator.token",
    "s3.json",
]


def make(folder: Path, members: Members = MEMBERS, *, now: datetime = NOW) -> list[str]:
    return CredentialFolder(folder, now, YEAR).make(members)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_made_once(tmp_path: Path) -> None:
    assert make(tmp_path / "secrets", now=NOW - YEAR / 2) == ALL
    before = contents(tmp_path / "secrets")
    assert sorted(before) == sorted(ALL)
    assert make(tmp_path / "secrets") == []
    assert contents(tmp_path / "secrets") == before


def test_all_of_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    found = [tmp_path / "secrets", *(tmp_path / "secrets").rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_tokens_say_who_their_bearers_are(tmp_path: Path) -> None:
    make(tmp_path)
    verifier = TokenVerifier([(tmp_path / "keys/verify-key.pem").read_bytes()], audience="hospitals")
    bearers = {path.name: verifier.verify(path.read_text().strip()) for path in (tmp_path / "tokens").iterdir()}
    assert bearers == {
        "worker-worker-0.token": Bearer("worker", "worker-0"),
        "client-client-0.token": Bearer("client", "client-0"),
        "operator.token": Bearer("operator", "operator"),
    }


@pytest.mark.parametrize("age", [0.67, 0.99, 1.5])
def test_what_has_less_than_a_third_of_its_life_left_is_made_anew(tmp_path: Path, age: float) -> None:
    make(tmp_path, now=NOW - YEAR * age)
    assert make(tmp_path) == [path for path in ALL if path.startswith(("servers", "tokens"))]
    assert make(tmp_path) == []


def test_what_has_more_than_a_third_of_its_life_left_is_kept(tmp_path: Path) -> None:
    make(tmp_path, now=NOW - YEAR * 0.66)
    assert make(tmp_path) == []


def test_an_authority_is_renewed_with_the_same_key_so_that_nothing_it_signed_becomes_worthless(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    made = make(tmp_path, now=NOW + timedelta(days=2500))
    assert "authority/ca.pem" in made
    assert "authority/ca-key.pem" not in made
    renewed = x509.load_pem_x509_certificate((tmp_path / "authority/ca.pem").read_bytes())
    old = x509.load_pem_x509_certificate(before["servers/worker-0.pem"])
    old.verify_directly_issued_by(renewed)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("servers/master-0-key.pem", ["servers/master-0-key.pem", "servers/master-0.pem"]),
        ("servers/worker-0.pem", ["servers/worker-0-key.pem", "servers/worker-0.pem"]),
        ("tokens/client-client-0.token", ["tokens/client-client-0.token"]),
        ("keys/verify-key.pem", ["keys/verify-key.pem"]),
        ("authority/ca.pem", ["authority/ca.pem"]),
        ("s3.json", ["s3.json"]),
    ],
)
def test_what_is_missing_is_made_and_nothing_else(tmp_path: Path, path: str, made: list[str]) -> None:
    make(tmp_path)
    (tmp_path / path).unlink()
    assert make(tmp_path) == made


@pytest.mark.parametrize("path", ["servers/worker-0.pem", "tokens/client-client-0.token", "tokens/operator.token"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, path: str) -> None:
    make(tmp_path)
    (tmp_path / path).write_text("damaged\n")
    assert path in make(tmp_path)


def test_a_machine_with_another_address_gets_another_certificate(tmp_path: Path) -> None:
    make(tmp_path)
    moved = replace(MEMBERS, servers={"master-0": ["127.0.0.2"], "worker-0": ["::1"]})
    assert make(tmp_path, moved) == ["servers/master-0-key.pem", "servers/master-0.pem"]
    assert make(tmp_path, moved) == []


def test_a_token_of_another_subject_federation_or_key_is_made_anew(tmp_path: Path) -> None:
    make(tmp_path)
    token, other = tmp_path / "tokens/client-client-0.token", tmp_path / "tokens/operator.token"
    token.write_bytes(other.read_bytes())
    assert make(tmp_path) == ["tokens/client-client-0.token"]
    tokens = [path for path in ALL if path.startswith("tokens")]
    assert make(tmp_path, replace(MEMBERS, federation="banks")) == tokens
    (tmp_path / "keys/signing-key.pem").write_bytes(generate_keys()[0])
    assert make(tmp_path, replace(MEMBERS, federation="banks")) == ["keys/verify-key.pem", *tokens]


def test_another_authority_signs_all_certificates_anew(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "authority/ca-key.pem").write_bytes(new_key())
    assert make(tmp_path) == ["authority/ca.pem", *[path for path in ALL if path.startswith("servers")]]


@pytest.mark.parametrize("lost", ["keys/signing-key.pem", "authority/ca-key.pem"])
def test_a_lost_key_that_members_go_by_is_not_replaced_without_asking(tmp_path: Path, lost: str) -> None:
    make(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(StartupError, match=f"is there, but not {tmp_path / lost}.*put it back"):
        make(tmp_path)


def test_a_new_member_changes_nothing_for_the_others(tmp_path: Path) -> None:
    make(tmp_path)
    assert make(tmp_path, replace(MEMBERS, clients=["client-0", "client-1"])) == ["tokens/client-client-1.token"]


@pytest.fixture
def served(tmp_path: Path) -> Callable[[str], str]:
    """Serves HTTPS with a machine's certificate; returns its address under a name."""
    make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "servers/master-0.pem", tmp_path / "servers/master-0-key.pem")
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return lambda host: f"https://{host}:{server.server_port}/"


def test_a_certificate_is_believed_at_its_addresses_and_at_no_other(
    tmp_path: Path, served: Callable[[str], str]
) -> None:
    authority = str(tmp_path / "authority/ca.pem")
    assert requests.get(served("127.0.0.1"), verify=authority, timeout=10).status_code == 501
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(served("localhost"), verify=authority, timeout=10)


def test_certificates_pass_the_strict_checks_of_newer_libraries(tmp_path: Path, served: Callable[[str], str]) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "authority/ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = int(served("").rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        context.wrap_socket(plain, server_hostname="127.0.0.1").close()


def test_credentials_of_s3_are_random_and_readable(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    one, two = (read_s3_credentials(tmp_path / name / "s3.json") for name in ("one", "two"))
    assert len(one.secret_key) >= 40
    assert one.secret_key != two.secret_key
    assert one.secret_key not in repr(one)
    (tmp_path / "one/s3.json").write_text("{}")
    with pytest.raises(StartupError, match="holds no S3 credentials"):
        make(tmp_path / "one")


def call(folder: Path, *arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(main, ["credentials", str(folder), *arguments])


def test_the_command_says_what_it_made_and_then_that_nothing_is_to_do(tmp_path: Path) -> None:
    flags = ["--federation", "lab", "--server", "m=127.0.0.1,Lab.example.org", "--worker", "m", "--client", "c-1"]
    done = call(tmp_path / "s", *flags, "--json")
    facts = json.loads(done.output)
    assert facts["event"] == "credentials"
    assert "servers/m.pem" in facts["made"]
    assert json.loads(call(tmp_path / "s", *flags, "--json").output) == {"event": "credentials", "made": []}
    assert "is complete" in call(tmp_path / "s", *flags).output
    token = (tmp_path / "s/tokens/client-c-1.token").read_text().strip()
    public = (tmp_path / "s/keys/verify-key.pem").read_bytes()
    assert TokenVerifier([public], audience="lab").verify(token) == Bearer("client", "c-1")
    with pytest.raises(Unauthenticated):
        TokenVerifier([public]).verify(token)


def test_the_command_is_not_confused_by_variables_of_other_commands(tmp_path: Path) -> None:
    done = call(tmp_path / "s", "--json", FEDTIER_SERVER="https://worker.example.org", FEDTIER_CLIENT="client-1")
    assert [path for path in json.loads(done.output)["made"] if "client" in path or "servers" in path] == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--server", "m"], "--server 'm' is not of the form NAME=ADDRESS"),
        (["--server", "../m=127.0.0.1"], "is not of the form NAME=ADDRESS"),
        (["--server", "m=bücher.example"], "neither a host's name in ASCII nor an address"),
        (["--worker", "a/b"], "--worker 'a/b' does not match"),
        (["--client", ""], "--client '' does not match"),
        (["--days", "0"], "--days"),
        (["--federation", "a b"], "--federation"),
    ],
)
def test_what_cannot_be_a_member_is_refused(tmp_path: Path, flags: list[str], words: str) -> None:
    done = call(tmp_path / "s", *flags)
    assert done.exit_code in {1, 2}
    assert words in done.output
    assert not (tmp_path / "s").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call(tmp_path / "file" / "secrets")
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert str(tmp_path / "file" / "secrets") in done.output
