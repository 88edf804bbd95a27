"""The conversation with the server one tier up: what a client and a worker both ask of it.

One call is one request; whether to try again is the caller's business. Answers come
back as documents (`fedtier.rounds`), refusals as the problems they are.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from fedtier.bodies import BLOCK, FileBody
from fedtier.documents import json_object
from fedtier.hashed import HashedFile
from fedtier.problems import DigestMismatch, Unavailable
from fedtier.refusals import refusal
from fedtier.rounds import BaseRound, RoundStatus
from fedtier.sessions import NotSent, Session
from fedtier.tls import NO_TLS, Tls
from fedtier.tls_failures import tls_failure, tls_refusal
from fedtier.token_sources import TokenSource
from fedtier.urls import innermost_cause, shown_server


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds a request may take to connect, and to wait until the next byte goes out or comes in."""

    connect: float = 5.0
    read: float = 60.0


class Unreachable(Exception):
    """No answer came: refused, reset, timed out, or not HTTP. Sending again is safe."""


class NotTrusted(Unreachable):
    """No answer came, since one end does not take the other. Sending again is safe, and helps once somebody acts."""


class Upstream:
    """A server one tier up. Not for use by several threads at once.

    Parameters
    ----------
    url : str
        Its address, ``https://host:port`` or ``http://host:port``.
    token : callable, optional
        Returns what is presented to it with a request, and to nobody it redirects to; called for every request.
    tls : Tls
        Whom to believe, and what is shown to the server where it asks for a certificate; to nobody it redirects to.
    timeouts : Timeouts

    Raises
    ------
    StartupError
        The token holds what no token can.
    """

    def __init__(
        self, url: str, *, token: TokenSource | None = None, tls: Tls = NO_TLS, timeouts: Timeouts | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeouts = timeouts or Timeouts()
        self._session = Session(self.url, token=token, tls=tls, silence=self._timeouts.read)
        self._etag: str | None = None
        self._status: RoundStatus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def round_status(self, headers: Mapping[str, str] | None = None) -> RoundStatus:
        """Return the round as it is now (`GET /v1/round`); cheap when nothing changed.

        Parameters
        ----------
        headers : Mapping, optional
            What to say along with the question.

        Raises
        ------
        Unreachable, Problem
        """
        known = {"If-None-Match": self._etag} if self._etag and self._status else {}
        response = self._request("GET", "/v1/round", headers={**known, **(headers or {})})
        if response.status_code == 304 and self._status is not None:
            return self._status
        self._status = RoundStatus.from_json(response.content)
        self._etag = response.headers.get("ETag")
        return self._status

    def manifest(self, round_number: int) -> bytes:
        """Return the bytes of a published round's manifest.

        Raises
        ------
        Unreachable, Problem
        """
        return self._request("GET", f"/v1/rounds/{round_number}/manifest").content

    def unready(self) -> str | None:
        """Return why the server cannot take work (`GET /readyz`), or None.

        Raises
        ------
        Unreachable, Problem
        """
        try:
            self._request("GET", "/readyz")
        except Unavailable as problem:
            return problem.detail
        return None

    def close_round(self, round_number: int) -> RoundStatus:
        """Have the open round closed with what is counted, as an operator; return how it is then.

        Raises
        ------
        Unreachable, Problem
        """
        return self._operate(f"/v1/rounds/{round_number}/close")

    def pause_uploads(self) -> RoundStatus:
        """Have the master take no uploads, as an operator; return how the round is then.

        Raises
        ------
        Unreachable, Problem
        """
        return self._operate("/v1/pause")

    def resume_uploads(self) -> RoundStatus:
        """Have the master take uploads again, as an operator; return how the round is then.

        Raises
        ------
        Unreachable, Problem
        """
        return self._operate("/v1/resume")

    def _operate(self, path: str) -> RoundStatus:
        return RoundStatus.from_json(self._request("POST", path).content)

    def download_model(self, base: BaseRound, destination: Path) -> None:
        """Download a model to a file, going on where an earlier try broke off.

        Parameters
        ----------
        base : BaseRound
            Names the model, its size and its SHA-256.
        destination : Path
            Is complete and verified when it appears; ``<destination>.part`` until then.

        Raises
        ------
        DigestMismatch
            The bytes are not what the round names; they are deleted.
        Unreachable, Problem
        OSError
            It cannot be written; nothing of it is left.
        """
        part = destination.with_name(destination.name + ".part")
        have = part.stat().st_size if part.exists() else 0
        if have > base.bytes:
            part.unlink()
            have = 0
        complete = have == base.bytes > 0
        sha256 = file_sha256(part) if complete else self._fetch(base, part, have)
        if sha256 != base.sha256:
            part.unlink()
            raise DigestMismatch(
                f"the model of round {base.round} from {self.url} has SHA-256 {sha256}, not {base.sha256}"
            )
        os.replace(part, destination)

    def _fetch(self, base: BaseRound, part: Path, have: int) -> str:
        """Receive what is missing of a file; return the SHA-256 of all of it."""
        headers = {"Range": f"bytes={have}-"} if have else {}
        response = self._request("GET", base.url, headers=headers, stream=True)
        goes_on = response.status_code == 206
        try:
            with response, part.open("ab" if goes_on else "wb") as file:
                hashed = HashedFile(file, part if goes_on else None)
                for block in response.iter_content(BLOCK):
                    hashed.write(block)
        except requests.RequestException as error:
            # Not from the error: it names the whole URL, which may be a presigned one, and tracebacks would show it.
            raise Unreachable(f"{self.url} broke off a download: {innermost_cause(error)}") from None
        except OSError:
            part.unlink(missing_ok=True)  # a full disk is not to stay full of what did not fit
            raise
        return hashed.sha256

    def put_file(
        self,
        path: str,
        body: Path,
        *,
        sha256: str,
        headers: Mapping[str, str] | None = None,
        before_end: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Upload a file, streamed, with its digest.

        Parameters
        ----------
        path : str
            Below the server's address, for example ``/v1/rounds/7/updates/client-3``.
        body : Path
        sha256 : str
            Of the file, in hex.
        headers : Mapping, optional
        before_end : callable, optional
            Returns when the last bytes may be sent.

        Returns
        -------
        dict
            The JSON of the 200.

        Raises
        ------
        Unreachable, Problem, OSError
        """
        with body.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            sent = FileBody(file, size, before_end)
            try:
                response = self._request(
                    "PUT",
                    path,
                    body=sent,
                    headers={
                        "Content-Type": "application/octet-stream",
                        "Content-Length": str(size),
                        "Content-Digest": content_digest(sha256),
                        **(headers or {}),
                    },
                )
            except Unreachable:
                if sent.failure is not None:
                    raise sent.failure from None
                raise
        return json_object(response.content)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith(("http://", "https://")) else self.url + path
        try:
            response = self._session.ask(method, url, timeout=(self._timeouts.connect, self._timeouts.read), **options)
            if response.status_code < 400:
                return response
            problem = refusal(response)
        except (requests.RequestException, ValueError) as error:  # a redirect may lead to what is no URL at all
            raise self._unreachable(error) from None
        failure = tls_refusal(problem, shown_server(response.url))
        if failure is not None:  # says nothing of what was sent, which may be good at the right address
            raise NotTrusted(failure)
        raise problem

    def _unreachable(self, error: requests.RequestException | ValueError) -> Unreachable:
        """Return what is said of a request without an answer; it may have been sent on to another server."""
        if isinstance(error, NotSent):
            return NotTrusted(str(error))
        request = getattr(error, "request", None)
        asked = self.url if request is None else shown_server(str(request.url))
        failure = tls_failure(error, asked)
        if failure is not None:
            return NotTrusted(failure)
        return Unreachable(f"{self.url} does not answer: {innermost_cause(error)}")


def content_digest(sha256: str) -> str:
    """Return the `Content-Digest` (RFC 9530) of a body whose SHA-256 is given in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
