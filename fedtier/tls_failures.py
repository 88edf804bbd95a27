"""What went wrong between two ends that did not come to terms over TLS, as sentences that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from fedtier.problems import Problem

_BY_CODE: Final = {
    10: "has expired; have it renewed there",
    9: "is not valid yet; check the clock here, and the certificate there",
    **dict.fromkeys(
        (62, 64), "is for another name ({said}); use an address that it names, or have one made that names this address"
    ),
    **dict.fromkeys(
        (2, 18, 19, 20, 21, 27),
        "is not signed by an authority that is trusted here ({said}); name the authority's PEM file by --ca-certs",
    ),
}
"""What OpenSSL finds in a certificate (X509_V_ERR_...), and what to do then."""
TLS_SCHEME: Final = "https"
"""The member ``scheme`` of the problem that a server with TLS answers plain HTTP with."""
_SPEAKS_TLS: Final = "{server} speaks TLS; write its address with https://"
_NO_TLS: Final = "{server} does not speak TLS; give that server a certificate, or write its address with http://"
_REFUSED: Final = "{server} does not take this program's certificate ({reason}); have it renewed, for TLS clients too"
_WANTED: Final = "{server} wants a certificate of whoever asks ({reason}); give one by --certfile and --keyfile"
_BY_REASON: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "CERTIFICATE_REQUIRED": _WANTED,
    "HANDSHAKE_FAILURE": _WANTED,
    "ALERT_UNKNOWN_CA": "{server} does not know the authority that signed this program's certificate; "
    "give one by --certfile that is signed by an authority of that server's --ca-certs",
    "CERTIFICATE_EXPIRED": _REFUSED,
    "CERTIFICATE_REVOKED": _REFUSED,
    "CERTIFICATE_UNKNOWN": _REFUSED,
    "UNSUPPORTED_CERTIFICATE": _REFUSED,
    "BAD_CERTIFICATE": _REFUSED,
    "KEY_VALUES_MISMATCH": "{server} was not asked: --keyfile is not the key of --certfile; give the two that were "
    "made together",
}
"""How the reasons end that OpenSSL gives, its own and those that the other end sent."""
_TLS_ALERT: Final = (r"\x15\x03", "\x15\x03")
"""How the answer of a server with TLS to plain HTTP begins, also as Python writes it out."""


def tls_failure(error: BaseException, server: str) -> str | None:
    """Return what kept two ends from trusting each other, or None where that is not what went wrong.

    Parameters
    ----------
    error : BaseException
        As `requests` raised it.
    server : str
        The other end's address, ``https://host:port``.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _not_believed(cause, server)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):  # that is any broken connection
            return _refused(str(cause.reason), server)
    if server.startswith("http://") and any(alert in str(error) for alert in _TLS_ALERT):
        return _SPEAKS_TLS.format(server=server)
    return None


def tls_refusal(problem: Problem, server: str) -> str | None:
    """Return what is said of a server that answered plain HTTP only to say that it speaks TLS, else None.

    Parameters
    ----------
    problem : Problem
        The answer.
    server : str
        The address that was asked, ``http://host:port``.
    """
    wanted = problem.members.get("scheme") == TLS_SCHEME and server.startswith("http://")
    return _SPEAKS_TLS.format(server=server) if wanted else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of; urllib3 keeps that as an argument."""
    yield error
    inner = [error.__cause__ or error.__context__, *error.args]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _not_believed(error: ssl.SSLCertVerificationError, server: str) -> str:
    said = str(error.verify_message or error.reason).rstrip(".")
    fault = _BY_CODE.get(error.verify_code, "is not valid: {said}")
    return f"the certificate of {server} {fault.format(said=said)}"


def _refused(reason: str, server: str) -> str | None:
    sentence = next((sentence for end, sentence in _BY_REASON.items() if reason.endswith(end)), None)
    return None if sentence is None else sentence.format(server=server, reason=reason.replace("_", " ").lower())
