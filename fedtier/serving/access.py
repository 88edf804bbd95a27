"""Who may do what: tokens checked against roles and subjects."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from fedtier.problems import Forbidden, StartupError, Unauthenticated
from fedtier.tokens import Bearer, Role, Verifier


class Gate:
    """Says by a request's `Authorization` header who asks.

    Parameters
    ----------
    verifier : Verifier or None
        None takes anyone, which `require_loopback` allows on loopback only.
    """

    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier

    def identify(self, authorization: str | None) -> Bearer | None:
        """Return who asks, or None when anyone may.

        Parameters
        ----------
        authorization : str or None
            The header's value, ``Bearer <token>``.

        Raises
        ------
        Unauthenticated
        """
        if self._verifier is None:
            return None
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated(
                "this server asks for a token, and none came: send Authorization: Bearer <token>, "
                "which fedtier does with the one in FEDTIER_TOKEN or FEDTIER_TOKEN_FILE"
            )
        return self._verifier.verify(token.strip())


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
        raise Forbidden(f"the token's role is {bearer.role!r}; this needs {' or '.join(sorted(roles))}")
    if subject is not None and bearer.subject != subject:
        raise Forbidden(f"the token is for {bearer.subject!r}, not for {subject!r}")


def require_loopback(host: str) -> None:
    """Check that a server without verify keys stays on this machine.

    Raises
    ------
    StartupError
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise StartupError(
            f"--host {host} is not a loopback address, and without FEDTIER_VERIFY_KEYS anyone could upload; "
            "set the keys (fedtier keygen DIR) or use --host 127.0.0.1"
        )
