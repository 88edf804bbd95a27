"""PEM files of certificates and keys, read so that whatever is wrong with them becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fedtier.problems import StartupError

_KEY: Final = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
_NAME_KINDS: Final = frozenset({"DNS", "URI"})


def read_certificate(path: Path, flag: str = "--certfile") -> x509.Certificate:
    """Return the first certificate of a file: the program's own, which those that signed it may follow.

    Raises
    ------
    StartupError
        The file cannot be read, or holds no certificate.
    """
    content = _content(path, flag)
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except (ValueError, IndexError):
        raise StartupError(f"{flag} {path} holds no certificate in PEM; check that it is the right file") from None


def require_pair(certfile: Path, keyfile: Path) -> x509.Certificate:
    """Return the certificate of a file, after a check that a file holds its key.

    Parameters
    ----------
    certfile : Path
    keyfile : Path
        May be the same file.

    Raises
    ------
    StartupError
        A file cannot be read, or is not what it should be, or the two do not belong together.
    """
    certificate = read_certificate(certfile)
    flag = "--certfile" if keyfile == certfile else "--keyfile"
    block = _KEY.search(_content(keyfile, flag))
    if block is None and keyfile == certfile:
        raise StartupError(f"--certfile {certfile} holds no key; give the certificate's key by --keyfile")
    if block is None:
        raise StartupError(f"{flag} {keyfile} holds no private key in PEM; check that it is the right file")
    try:
        key = load_pem_private_key(block[0], password=None)
    except TypeError:
        raise StartupError(
            f"{flag} {keyfile} is encrypted, and nobody is there to type its passphrase; "
            f"decrypt it: openssl pkey -in {keyfile} -out FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise StartupError(f"{flag} {keyfile} holds a private key that cannot be read; make it anew") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise StartupError(
            f"{flag} {keyfile} is not the key of --certfile {certfile}; "
            "give the two that were made together, the program's own certificate first in its file"
        )
    return certificate


def require_valid(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    """Check that a certificate is valid at a time: one that is not would be refused by everybody.

    Raises
    ------
    StartupError
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise StartupError(f"--certfile {path} has expired at {_date(ends)}; have it renewed")
    if now < begins:
        raise StartupError(
            f"--certfile {path} is not valid before {_date(begins)}, and it is {_date(now)} here; check the clock"
        )


def certificate_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return whom a peer's certificate names: its DNS and URI entries of subjectAltName, and its common names.

    Parameters
    ----------
    certificate : Mapping or None
        As `ssl.SSLSocket.getpeercert` returns it, verified; None or empty where the peer showed none.
    """
    shown = certificate or {}
    alternative = {value for kind, value in shown.get("subjectAltName", ()) if kind in _NAME_KINDS}
    common = {value for part in shown.get("subject", ()) for kind, value in part if kind == "commonName"}
    return frozenset(alternative | common)


def _content(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{flag} {path} cannot be read: {error.strerror}") from None


def _date(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
