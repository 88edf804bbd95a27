"""Whatever is wrong with a certificate's files is said before a program listens or asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fedtier.certificates import certificate_names
from fedtier.flags import command
from fedtier.problems import StartupError
from fedtier.tls import Tls, server_context, tls_flags
from tests.authorities import Authority

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def without_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def encrypt(path: Path) -> None:
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def test_good_files_are_good_together_or_in_one(authority: Authority) -> None:
    certfile, keyfile = authority.pair("localhost")
    Tls(certfile, keyfile, authority.certificate).check(NOW)
    certfile.write_bytes(keyfile.read_bytes() + certfile.read_bytes())
    Tls(certfile).check(NOW)
    assert server_context(Tls(certfile)) is not None


def test_without_files_there_is_nothing_to_check() -> None:
    Tls().check(NOW)
    assert server_context(Tls()) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda certfile, _: certfile.unlink(), r"--certfile .* cannot be read: No such file"),
        (lambda certfile, _: certfile.write_text("hello"), r"--certfile .* holds no certificate in PEM"),
        (lambda certfile, _: without_end(certfile), r"--certfile .* holds no certificate in PEM"),
        (lambda certfile, key: certfile.write_bytes(key.read_bytes()), r"--certfile .* holds no certificate in PEM"),
        (lambda _, keyfile: keyfile.unlink(), r"--keyfile .* cannot be read: No such file"),
        (lambda _, keyfile: keyfile.write_text(""), r"--keyfile .* holds no private key in PEM"),
        (lambda certfile, key: key.write_bytes(certfile.read_bytes()), r"--keyfile .* holds no private key in PEM"),
        (lambda _, keyfile: encrypt(keyfile), r"--keyfile .* is encrypted.*openssl pkey -in"),
        (
            lambda _, keyfile: keyfile.write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"),
            r"--keyfile .* holds a private key that cannot be read",
        ),
        (lambda _, keyfile: (keyfile.unlink(), keyfile.mkdir()), r"--keyfile .* cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    authority: Authority, spoil: Callable[[Path, Path], object], words: str
) -> None:
    certfile, keyfile = authority.pair("localhost")
    spoil(certfile, keyfile)
    with pytest.raises(StartupError, match=words):
        Tls(certfile, keyfile).check(NOW)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certfile, _ = authority.pair("localhost")
    _, keyfile = authority.pair("localhost", file="other")
    with pytest.raises(StartupError, match=r"--keyfile .*other-key.pem is not the key of --certfile .*own.pem"):
        Tls(certfile, keyfile).check(NOW)


def test_a_key_is_asked_for_where_the_certificates_file_holds_none(authority: Authority) -> None:
    certfile, keyfile = authority.pair("localhost")
    with pytest.raises(StartupError, match=r"--certfile .* holds no key; give the certificate's key by --keyfile"):
        Tls(certfile).check(NOW)
    with pytest.raises(StartupError, match=r"--keyfile .* is given without its certificate"):
        Tls(keyfile=keyfile).check(NOW)


@pytest.mark.parametrize(
    ("at", "words"), [(timedelta(days=2), "has expired at"), (-timedelta(days=4), "is not valid before .* clock")]
)
def test_a_certificate_that_is_not_valid_now_is_refused(authority: Authority, at: timedelta, words: str) -> None:
    with pytest.raises(StartupError, match=rf"--certfile .* {words}"):
        authority.tls("localhost").check(NOW + at)


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    with pytest.raises(StartupError, match=r"--ca-certs .* holds no certificate"):
        Tls(ca_certs=tmp_path / "empty.pem").check(NOW)
    with pytest.raises(StartupError, match=r"--ca-certs .* cannot be read: No such file"):
        Tls(ca_certs=tmp_path / "missing.pem").check(NOW)


def test_certificates_of_others_are_wanted_only_where_they_can_be_judged(authority: Authority) -> None:
    certfile, keyfile = authority.pair("localhost")
    with pytest.raises(StartupError, match=r"--require-client-certs needs TLS"):
        server_context(authority.believed, client_certs=True)
    with pytest.raises(StartupError, match=r"--require-client-certs needs --ca-certs"):
        server_context(Tls(certfile, keyfile), client_certs=True)


def test_names_are_dns_and_uri_entries_and_common_names() -> None:
    shown = {
        "subject": ((("organizationName", "nobody"),), (("commonName", "client-3"),)),
        "subjectAltName": (("DNS", "a.example.org"), ("URI", "spiffe://x/a"), ("IP Address", "::1"), ("email", "a@b")),
    }
    assert certificate_names(shown) == {"client-3", "a.example.org", "spiffe://x/a"}
    assert certificate_names({}) == certificate_names(None) == frozenset()


# The flags


@command("sample")
@click.option("--server")
@tls_flags
def sample(server: str | None, tls: Tls) -> None:
    """Print what it was given."""
    click.echo(f"{server} {tls}")


def test_a_command_gets_its_files_together(authority: Authority) -> None:
    tls = authority.tls("localhost")
    given = {"certfile": str(tls.certfile), "keyfile": str(tls.keyfile), "ca_certs": str(tls.ca_certs)}
    flags = [word for name, path in given.items() for word in (f"--{name}", path)]
    variables = {f"FEDTIER_{name.upper()}": path for name, path in given.items()}
    for done in (CliRunner().invoke(sample, flags), CliRunner(env=variables).invoke(sample)):
        assert done.output.strip() == f"None {tls}"


def test_a_command_does_not_begin_with_files_that_are_not_good(authority: Authority) -> None:
    certfile, keyfile = authority.pair("localhost", days=-1)
    done = CliRunner().invoke(sample, ["--certfile", str(certfile), "--keyfile", str(keyfile)])
    assert done.exit_code == 1
    assert "has expired" in done.output
