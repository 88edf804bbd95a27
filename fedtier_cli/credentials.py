"""Everything that the members of a federation on several machines prove themselves with, in one folder.

In: who the members are. Out: keys, an authority, certificates, tokens and S3's credentials. What is there and good is
left as it is, so that making them again, before every deployment, changes nothing on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from fedtier.certificates import read_certificate, require_pair
from fedtier.claims import unverified_claims
from fedtier.flags import read_text
from fedtier.problems import StartupError, Unauthenticated
from fedtier.tokens import Bearer, TokenVerifier, make_token, public_key_of
from fedtier_cli.authority import (
    Pair,
    authority_certificate,
    is_key_of,
    is_signed_by,
    names_of,
    new_key,
    normal_name,
    server_pair,
)
from fedtier_cli.key_files import SIGNING_KEY, VERIFY_KEY, make_key_pair, write_secret
from fedtier_cli.seaweed_credentials import Credentials

_AUTHORITY_LIFETIME: Final = timedelta(days=3650)
_LEFT_AT_RENEWAL: Final = 1 / 3
"""The part of its life that what is renewed still has."""
_S3: Final = "s3.json"
_FOLDERS: Final = ("keys", "authority", "servers", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who takes part in a federation.

    Parameters
    ----------
    federation : str
        Its name, which is the audience of its tokens.
    servers : Mapping of str to sequence of str
        By name of the machine, the names and addresses at which others ask it.
    workers, clients : sequence of str
        Whose tokens have these subjects.
    """

    federation: str
    servers: Mapping[str, Sequence[str]]
    workers: Sequence[str]
    clients: Sequence[str]

    @property
    def bearers(self) -> dict[str, Bearer]:
        """Those who present tokens, by the name of their token's file."""
        found = {f"worker-{name}.token": Bearer("worker", name) for name in self.workers}
        found |= {f"client-{name}.token": Bearer("client", name) for name in self.clients}
        return found | {"operator.token": Bearer("operator", "operator")}


@dataclass(frozen=True, slots=True)
class CredentialFolder:
    """The folder of one federation's credentials.

    Parameters
    ----------
    path : Path
        Made, for its owner alone.
    now : datetime
        With a time zone.
    lifetime : timedelta
        Of tokens and of servers' certificates.
    """

    path: Path
    now: datetime
    lifetime: timedelta

    def make(self, members: Members) -> list[str]:
        """Make what is missing or about to expire, and return its paths, relative to the folder.

        Raises
        ------
        StartupError
            A file cannot be read or written, or holds something else.
        """
        made: list[str] = []
        self._make_folders()
        self._make_keys(made)
        authority = self._make_authority(members.federation, made)
        for name, addresses in members.servers.items():
            self._make_server(name, [normal_name(one) for one in (name, *addresses)], authority, made)
        signing_key = self._read("keys", SIGNING_KEY)
        verifier = TokenVerifier([public_key_of(signing_key)], audience=members.federation)
        for file, bearer in members.bearers.items():
            if not self._is_good_token(file, bearer, verifier):
                token = make_token(
                    signing_key, bearer, now=self.now, lifetime=self.lifetime, audience=members.federation
                )
                self._write(f"{token}\n".encode(), made, "tokens", file)
        self._make_s3(made)
        return made

    def _make_folders(self) -> None:
        try:
            for folder in (self.path, *(self.path / name for name in _FOLDERS)):
                folder.mkdir(mode=0o700, parents=folder == self.path, exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise StartupError(f"credentials cannot be kept in {self.path}: {error.strerror}") from None

    def _make_keys(self, made: list[str]) -> None:
        folder = self.path / "keys"
        signing, verify = folder / SIGNING_KEY, folder / VERIFY_KEY
        if not signing.exists() and verify.exists():
            raise StartupError(
                f"{verify} is there, but not {signing}, which signs its tokens; put it back, "
                f"or delete {verify} to begin with new keys, which every server has to be given"
            )
        if not signing.exists():
            make_key_pair(folder)
            verify.chmod(0o600)
            made += [f"keys/{SIGNING_KEY}", f"keys/{VERIFY_KEY}"]
            return
        public = public_key_of(self._read("keys", SIGNING_KEY))
        if not verify.exists() or self._read("keys", VERIFY_KEY) != public:
            self._write(public, made, "keys", VERIFY_KEY)

    def _make_authority(self, federation: str, made: list[str]) -> Pair:
        key, certificate = self.path / "authority" / "ca-key.pem", self.path / "authority" / "ca.pem"
        if not key.exists():
            if certificate.exists():
                raise StartupError(
                    f"{certificate} is there, but not {key}, which signs servers' certificates; put it back, "
                    f"or delete {certificate} to begin with a new authority, which every member has to be given"
                )
            self._write(new_key(), made, "authority", key.name)
        pem = self._read("authority", key.name)
        if not certificate.exists() or not self._is_good_authority(certificate, pem):
            renewed = authority_certificate(pem, federation, now=self.now, lifetime=_AUTHORITY_LIFETIME)
            self._write(renewed, made, "authority", certificate.name)
        return Pair(self._read("authority", certificate.name), pem)

    def _is_good_authority(self, path: Path, key: bytes) -> bool:
        certificate = read_certificate(path, "the authority's certificate")
        return is_key_of(key, certificate) and self._lasts(
            certificate.not_valid_before_utc, certificate.not_valid_after_utc
        )

    def _make_server(self, name: str, names: Sequence[str], authority: Pair, made: list[str]) -> None:
        certificate, key = f"{name}.pem", f"{name}-key.pem"
        if self._is_good_server(self.path / "servers" / certificate, self.path / "servers" / key, names, authority):
            return
        pair = server_pair(authority, names, now=self.now, lifetime=self.lifetime)
        self._write(pair.key, made, "servers", key)
        self._write(pair.certificate, made, "servers", certificate)

    def _is_good_server(self, certfile: Path, keyfile: Path, names: Sequence[str], authority: Pair) -> bool:
        try:
            certificate = require_pair(certfile, keyfile)
        except StartupError:  # missing, or left half written by a call that was interrupted
            return False
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        issuer = x509.load_pem_x509_certificate(authority.certificate)
        return (
            names_of(certificate) == frozenset(names)
            and is_signed_by(certificate, issuer)
            and self._lasts(begins, ends)
        )

    def _is_good_token(self, file: str, bearer: Bearer, verifier: TokenVerifier) -> bool:
        if not (self.path / "tokens" / file).exists():
            return False
        token = self._read("tokens", file).decode(errors="replace").strip()
        try:
            if verifier.verify(token) != bearer:
                return False
        except Unauthenticated:
            return False
        claims = unverified_claims(token)
        begins, ends = (datetime.fromtimestamp(float(claims.get(name, 0)), UTC) for name in ("iat", "exp"))
        return self._lasts(begins, ends)

    def _make_s3(self, made: list[str]) -> None:
        if (self.path / _S3).exists():
            read_s3_credentials(self.path / _S3)
            return
        pair = Credentials.new()
        text = json.dumps({"access_key": pair.access_key, "secret_key": pair.secret_key})
        self._write(f"{text}\n".encode(), made, _S3)

    def _lasts(self, begins: datetime, ends: datetime) -> bool:
        return begins <= self.now and ends - self.now > (ends - begins) * _LEFT_AT_RENEWAL

    def _read(self, *parts: str) -> bytes:
        path = self.path.joinpath(*parts)
        return read_text(str(path), str(path), secret=True).encode()

    def _write(self, content: bytes, made: list[str], *parts: str) -> None:
        write_secret(self.path.joinpath(*parts), content.decode())
        made.append("/".join(parts))


def read_s3_credentials(path: Path) -> Credentials:
    """Return the credentials of a federation's own S3.

    Parameters
    ----------
    path : Path
        ``s3.json`` of a folder that `CredentialFolder` made.

    Raises
    ------
    StartupError
        They are not there, or cannot be read.
    """
    try:
        members = json.loads(path.read_bytes())
        return Credentials(str(members["access_key"]), str(members["secret_key"]))
    except OSError as error:
        raise StartupError(f"S3's credentials {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise StartupError(f"{path} holds no S3 credentials; delete it to have others made") from None
