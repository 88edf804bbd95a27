"""URLs that a person gave: told from paths, and named in sentences without what may be secret in them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_UNUSABLE: Final = (InvalidSchema, InvalidURL, MissingSchema)
"""What `requests` raises with the whole URL in its sentence: the one it was given, or one it was sent on to."""


def is_url(place: str) -> bool:
    """Return whether a place is meant as a URL, of whatever scheme, and not as a path."""
    return _SCHEME.match(place) is not None


def shown_url(url: str) -> str:
    """Return what names a URL in a sentence: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown_server(url: str) -> str:
    """Return a URL's scheme, host and port, which name the server in a sentence."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone, by its name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def leaves_in_plain(url: str) -> bool:
    """Return whether what is sent to a URL leaves this machine readable for everybody on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def innermost_cause(error: BaseException) -> str:
    """Return the cause that a person can use, out of what libraries wrapped it in."""
    if isinstance(error, _UNUSABLE):
        return "this is no http or https URL with a host, or leads to one that is none"
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    return str(error) or type(error).__name__
