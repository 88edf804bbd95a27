"""TLS as a program is told of it by its flags: what it shows of itself, and whom it believes.

The same files serve both ends of a program: a worker shows one certificate to those who
come to it and, where that is asked for, to the server above it. All are read again when
they change, for connections that are made from then on.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import structlog

from fedtier.certificates import read_certificate, require_pair, require_valid
from fedtier.flags import gathering
from fedtier.problems import StartupError

_PATH: Final = click.Path(path_type=Path)
_PROTOCOLS: Final = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class Tls:
    """Who a program is, whom it believes, and whether it may do without.

    Parameters
    ----------
    certfile : Path or None
        PEM file of its certificate, followed by those that signed it, up to the authority's.
    keyfile : Path or None
        PEM file of the certificate's key; None where `certfile` holds it.
    ca_certs : Path or None
        PEM file of the authorities that its peers' certificates are signed by; None are those that are publicly known.
    plain_http : bool
        Whether HTTP without TLS may leave this machine.
    """

    certfile: Path | None = None
    keyfile: Path | None = None
    ca_certs: Path | None = None
    plain_http: bool = False

    @property
    def pair(self) -> tuple[Path, Path] | None:
        """The files of the certificate and of its key, or None where there is no certificate."""
        return None if self.certfile is None else (self.certfile, self.keyfile or self.certfile)

    def check(self, now: datetime) -> None:
        """Check at a program's start that the files are good.

        Raises
        ------
        StartupError
            A file is missing or not what it should be, or the certificate is not valid now.
        """
        if self.keyfile is not None and self.certfile is None:
            raise StartupError(f"--keyfile {self.keyfile} is given without its certificate; give that by --certfile")
        if self.pair is not None:
            require_valid(require_pair(*self.pair), self.pair[0], now)
        if self.ca_certs is not None:
            read_certificate(self.ca_certs, "--ca-certs")


NO_TLS: Final = Tls()
"""No files are given: servers are verified against public authorities, and nothing plain leaves this machine."""


def tls_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--certfile --keyfile --ca-certs --plain-http``; the function gets them together, checked, as ``tls``."""
    flags = {
        "certfile": click.option("--certfile", type=_PATH, help="PEM file of this program's certificate."),
        "keyfile": click.option("--keyfile", type=_PATH, help="PEM file of its key. [default: the certificate's file]"),
        "ca_certs": click.option(
            "--ca-certs", type=_PATH, help="PEM file of the authorities to trust. [default: public ones]"
        ),
        "plain_http": click.option("--plain-http", is_flag=True, help="Let HTTP without TLS leave this machine."),
    }
    return gathering("tls", flags, _checked)(function)


def _checked(**said: Any) -> Tls:
    tls = Tls(**said)
    tls.check(datetime.now(UTC))
    return tls


def server_context(tls: Tls, *, client_certs: bool = False) -> ssl.SSLContext | None:
    """Return how a server does TLS, or None where it has no certificate.

    Parameters
    ----------
    tls : Tls
    client_certs : bool
        Ask whoever connects for a certificate, which then has to be signed by one of `ca_certs`. One who shows none is
        connected as well: what that one may do is up to `fedtier.serving.access.Gate`.

    Raises
    ------
    StartupError
        The files are not good, or nobody would be believed.
    """
    if client_certs and tls.certfile is None:
        raise StartupError("--require-client-certs needs TLS; give this server's own --certfile and --keyfile")
    if client_certs and tls.ca_certs is None:
        raise StartupError("--require-client-certs needs --ca-certs: the authorities that sign clients' certificates")
    if tls.certfile is None:
        return None
    renewal = _Renewal(tls, client_certs)
    context = renewal.newest()
    context.sni_callback = renewal
    return context


def certificate_end(context: ssl.SSLContext) -> float | None:
    """Return until when the certificate is valid that a server shows now, in seconds since 1970.

    Parameters
    ----------
    context : ssl.SSLContext
        From `server_context`; of another it is not known, and None.
    """
    renewal = context.sni_callback
    return renewal.not_after.timestamp() if isinstance(renewal, _Renewal) else None


class _Renewal:
    """Gives every handshake the files as they are now; what is half renewed is left until it is whole."""

    def __init__(self, tls: Tls, client_certs: bool) -> None:
        self._tls = tls
        self._client_certs = client_certs
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._newest = self._read()

    def __call__(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Take part in a handshake: OpenSSL calls this for each, with a server's name or without."""
        connection.context = self.newest()

    def newest(self) -> ssl.SSLContext:
        """Return the context of the newest good files."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._renew()
            return self._newest

    def _renew(self) -> None:
        log = structlog.get_logger()
        try:
            self._newest = self._read()
        except StartupError as error:
            log.warning("changed certificates are not used, and those before stay", reason=str(error))
        else:
            log.info("certificates renewed", certfile=str(self._tls.certfile))

    def _read(self) -> ssl.SSLContext:
        assert self._tls.pair is not None, "a server has a certificate"
        not_after = require_pair(*self._tls.pair).not_valid_after_utc
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(_PROTOCOLS)
        # No session is resumed: a certificate that is no longer good would be taken with it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(*self._tls.pair)
            if self._client_certs and self._tls.ca_certs is not None:
                read_certificate(self._tls.ca_certs, "--ca-certs")
                context.load_verify_locations(self._tls.ca_certs)
                context.verify_mode = ssl.CERT_OPTIONAL
        except (OSError, ssl.SSLError) as error:
            raise StartupError(f"the files of {self._tls.certfile} cannot be used for TLS: {error}") from None
        self.not_after = not_after
        return context

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (*(self._tls.pair or ()), self._tls.ca_certs) if path is not None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what tells one version of a file from the next."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
