"""Who may do what: tokens checked against roles, subjects, and the certificates that their bearers show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fedtier.certificates import certificate_names
from fedtier.problems import Forbidden, StartupError, Unauthenticated
from fedtier.serving.front.secure import SecureSocket
from fedtier.tls import Tls
from fedtier.tokens import Bearer, Role, Verifier
from fedtier.urls import is_loopback


class Gate:
    """Says by a request's `Authorization` header, and by its connection's certificate, who asks.

    Parameters
    ----------
    verifier : Verifier or None
        None takes anyone, which `require_guard` allows on loopback only.
    client_certs : bool
        Whether a token is good only together with a certificate that names its subject.
    """

    def __init__(self, verifier: Verifier | None, *, client_certs: bool = False) -> None:
        assert verifier is not None or not client_certs, "without tokens there is no subject that a certificate names"
        self._verifier = verifier
        self._client_certs = client_certs

    def identify(self, authorization: str | None, certificate: Mapping[str, Any] | None = None) -> Bearer | None:
        """Return who asks, or None when anyone may.

        Parameters
        ----------
        authorization : str or None
            The header's value, ``Bearer <token>``.
        certificate : Mapping or None
            What the connection's other end showed and TLS verified; see `peer_certificate`.

        Raises
        ------
        Unauthenticated
            The token is not there, or not good.
        Forbidden
            The certificate is not there, or for somebody else.
        """
        if self._verifier is None:
            return None
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated(
                "this server asks for a token, and none came: send Authorization: Bearer <token>, "
                "which fedtier does with the one in FEDTIER_TOKEN or FEDTIER_TOKEN_FILE"
            )
        bearer = self._verifier.verify(token.strip())
        if self._client_certs:
            _require_named(bearer, certificate_names(certificate))
        return bearer


def _require_named(bearer: Bearer, names: Collection[str]) -> None:
    if not names:
        raise Forbidden(
            f"the token is for {bearer.subject!r}, and this server also wants a certificate that says so: "
            "give one by --certfile and --keyfile"
        )
    if bearer.subject not in names:  # as they are: a wildcard stands for nobody's id
        shown = ", ".join(repr(name[:100]) for name in sorted(names)[:5])
        raise Forbidden(f"the token is for {bearer.subject!r}, and the certificate for {shown}; show those of one name")


def peer_certificate(environ: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the verified certificate that the other end of a request's connection showed, if it did.

    Parameters
    ----------
    environ : Mapping
        Of the WSGI request.
    """
    connection = environ.get("gunicorn.socket")
    return connection.getpeercert() if isinstance(connection, SecureSocket) else None


def require(bearer: Bearer | None, *, roles: Collection[Role], subject: str | None = None) -> None:
    """Check that whoever asks may do what needs one of these roles.

    Parameters
    ----------
    bearer : Bearer or None
        None is anyone, where anyone may.
    roles : collection of str
    subject : str, optional
        The only subject that may.

    Raises
    ------
    Forbidden
    """
    if bearer is None:
        return
    if bearer.role not in roles:
        wanted = " or ".join(sorted(roles))
        raise Forbidden(f"the token's role is {bearer.role!r}, and this needs {wanted}; present a token of that role")
    if subject is not None and bearer.subject != subject:
        raise Forbidden(
            f"the token is for {bearer.subject!r}, not for {subject!r}; ask the operator for one of its own"
        )


def require_guard(host: str, *, has_keys: bool, tls: Tls, client_certs: bool) -> None:
    """Check that a server beyond loopback knows who comes, and that nobody on the way reads what they bring.

    Parameters
    ----------
    host : str
        Where it listens.
    has_keys : bool
        Whether it has keys to verify tokens with.
    tls : Tls
    client_certs : bool
        Whether it wants certificates that name their tokens' subjects.

    Raises
    ------
    StartupError
    """
    if client_certs and not has_keys:
        raise StartupError(
            "--require-client-certs compares certificates with tokens, and without FEDTIER_VERIFY_KEYS this server "
            "asks for none; set the keys (fedtier keygen DIR), or leave the flag out"
        )
    if is_loopback(host):
        return
    if not has_keys:
        raise StartupError(
            f"--host {host} is not a loopback address, and without FEDTIER_VERIFY_KEYS anyone could upload; "
            "set the keys (fedtier keygen DIR) or use --host 127.0.0.1"
        )
    if tls.certfile is None and not tls.plain_http:
        raise StartupError(
            f"--host {host} is not a loopback address, and without TLS tokens and models could be read on the way; "
            "give --certfile and --keyfile, or --plain-http where something before this server does TLS, "
            "or use --host 127.0.0.1"
        )
