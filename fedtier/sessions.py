"""The requests of a caller: whom it believes, what it shows of itself and to whom, and what it never sends in plain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import requests
from requests.auth import AuthBase
from requests.utils import default_headers

from fedtier.bodies import FileBody
from fedtier.connections import AttentiveAdapter
from fedtier.tls import Tls
from fedtier.token_sources import TokenSource
from fedtier.urls import leaves_in_plain, shown_server

_ADDRESSES: Final = 8
"""How many a session keeps in the form that is sent, as most requests ask for what was asked for before."""


class NotSent(requests.RequestException):
    """A request that is not sent as things are here: anybody could read it, or a file that it needs is missing."""


class Session(requests.Session):
    """Talks to one server, and to those it redirects to; `ask` is the way to do so.

    The server is believed by ``ca_certs`` alone where they are given. Those it redirects to, such as S3, are
    believed by them or by what is believed without them: public authorities, or those of the environment
    (``REQUESTS_CA_BUNDLE``). Only the server gets the token, and the certificate.

    Parameters
    ----------
    server : str
        Its address, without a slash at the end.
    token : callable or None
        Returns what is presented to the server with a request.
    tls : Tls
    silence : float
        Seconds in which at least some bytes of a body have to get through.
    """

    def __init__(self, server: str, *, token: TokenSource | None, tls: Tls, silence: float) -> None:
        super().__init__()
        scheme, separator, rest = server.partition("://")
        self._server = server = scheme.lower() + separator + rest
        self._tls = tls
        self.auth = _BearerToken(token, server + "/")
        self._sent_form = lru_cache(_ADDRESSES)(_sent_form)
        self.mount("http://", AttentiveAdapter(silence))
        self.mount("https://", AttentiveAdapter(silence, also_trusted=tls.ca_certs))
        if server.startswith("https://"):
            self.mount(server + "/", _ServersAdapter(tls, silence))

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: FileBody | None = None,
        stream: bool = False,
        timeout: tuple[float, float],
    ) -> requests.Response:
        """Send a request, and send it on where the answer says so.

        Parameters
        ----------
        method : str
            In capitals.
        url : str
        headers : Mapping, optional
        body : FileBody, optional
        stream : bool
            Whether the answer's content is left for the caller to read.
        timeout : tuple of float
            Seconds to connect within, and to wait for the next byte.

        Raises
        ------
        NotSent, requests.RequestException, ValueError
        """
        # Put together here: polls are many, and what `requests` looks up for each costs more than to send it.
        request = requests.PreparedRequest()
        request.method, request.url = method, self._sent_form(url)
        request.body = body  # type: ignore[assignment]  # parts are sent as well, of which the stubs do not know
        request.headers = default_headers()
        request.headers.update(headers or {})
        request.prepare_auth(self.auth)
        response = self.send(request, stream=stream, timeout=timeout)
        if response.is_redirect:
            request.prepare_cookies({})  # there are none, but what is sent on takes them over
            for answer in self.resolve_redirects(response, request, stream=stream, timeout=timeout):
                response = answer
        if not stream:
            _ = response.content
        return response

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request to the one server that it names; return the answer, also where that leads elsewhere.

        Of the options `stream` and `timeout` count; what a request before it went by is found anew.

        Raises
        ------
        NotSent
            It would go out by plain HTTP to another machine, or where the server itself is asked by TLS.
        requests.RequestException
        """
        url = str(request.url)
        plain, leaves = url.startswith("http://"), leaves_in_plain(url)
        if (leaves or (plain and self._server.startswith("https://"))) and not self._tls.plain_http:
            sent_on = "" if (url + "/").startswith(self._server + "/") else f"{self._server} sends on to "
            raise NotSent(
                f"{sent_on}{shown_server(url)}, which is plain HTTP and readable on the way; "
                "have it use TLS, or give --plain-http where the network between is trusted",
                request=request,
            )
        settings: dict[str, Any] = {"stream": options["stream"], "proxies": {}}
        if leaves or not plain:  # else a proxy has a loopback of its own, and the way to it may be long
            settings |= self.merge_environment_settings(url, {}, options["stream"], None, None)
        return self.get_adapter(url).send(request, timeout=options["timeout"], **settings)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Authenticate where it is redirected to as anywhere else: with no password of a netrc file either."""
        prepared_request.headers.pop("Authorization", None)
        prepared_request.prepare_auth(self.auth)

    def rebuild_proxies(self, *_: Any) -> dict[str, str]:
        """Leave the proxy, and the password for it, to `send`: a server that is asked directly is not to see that."""
        return {}


def _sent_form(url: str) -> str:
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


class _ServersAdapter(AttentiveAdapter):
    """Connections to the server itself; its files are read anew for each."""

    def __init__(self, tls: Tls, silence: float) -> None:
        self._authorities = None if tls.ca_certs is None else str(tls.ca_certs)
        self._pair = None if tls.pair is None else (str(tls.pair[0]), str(tls.pair[1]))
        super().__init__(silence)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request; what the flags say goes before what the environment does."""
        if self._authorities is not None:
            options["verify"] = self._authorities
        return super().send(request, *args, **{**options, "cert": self._pair})

    def cert_verify(self, *args: Any) -> None:
        """Check that files are there.

        Raises
        ------
        NotSent
        """
        try:
            super().cert_verify(*args)  # type: ignore[no-untyped-call]  # so it is in the stubs
        except OSError as error:
            raise NotSent(f"{error}; put the file back") from None


class _BearerToken(AuthBase):
    """Adds the token for one server, and keeps requests from taking a password out of a netrc file."""

    def __init__(self, token: TokenSource | None, server: str) -> None:
        self._token = token
        self._server = server.lower()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None and str(request.url).lower().startswith(self._server) and (token := self._token()):
            request.headers["Authorization"] = f"Bearer {token}"
        return request
