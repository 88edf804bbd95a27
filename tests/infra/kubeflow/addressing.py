"""What a request to the API of Kubernetes is about: verb, kind of object, names, and who is chosen by labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

_PATH: Final = re.compile(
    r"/(?:api|apis/(?P<group>[a-z0-9.-]+))/(?P<version>v[0-9a-z]+)/namespaces/(?P<namespace>[a-z0-9-]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[a-z0-9.-]+)(?:/(?P<part>[a-z]+))?)?"
)
_VERBS: Final = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}
_TERM: Final = re.compile(r"(?P<key>[\w./-]+?)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read.

    Parameters
    ----------
    verb : str
        As a Role names it.
    group, namespace, resource : str
        Of the objects it is about; the core's group is ``""``.
    name : str
        Of the one object that is meant, or nothing.
    part : str
        Of that object, such as ``log``, or nothing.
    query : Mapping of str to str
    """

    verb: str
    group: str
    namespace: str
    resource: str
    name: str
    part: str
    query: Mapping[str, str]

    @property
    def what(self) -> str:
        """The resource as a Role names it."""
        return f"{self.resource}/{self.part}" if self.part else self.resource

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Return whether an object with these labels is among those that are meant."""
        return all(_holds(term, labels) for term in self.query.get("labelSelector", "").split(",") if term)


def read(method: str, target: str) -> Request | None:
    """Return what a request is about, or nothing if that is nothing this API has.

    Raises
    ------
    ValueError
        It is to be watched, which nothing comes of here.
    """
    parts = urlsplit(target)
    found = _PATH.fullmatch(parts.path)
    if found is None:
        return None
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if query.get("watch", "false").lower() == "true":
        raise ValueError("this API is asked again, and not watched")
    if query.get("fieldSelector"):
        raise ValueError(f"this API chooses by labels alone, not by {query['fieldSelector']}")
    name = found["name"] or ""
    verb = _VERBS.get((method, bool(name)))
    if verb is None:
        return None
    return Request(verb, found["group"] or "", found["namespace"], found["resource"], name, found["part"] or "", query)


def _holds(term: str, labels: Mapping[str, str]) -> bool:
    found = _TERM.fullmatch(term.strip())
    if found is None:
        raise ValueError(f"this API knows = and != of labels, not {term!r}")
    return (labels.get(found["key"]) == found["value"]) is (found["operator"] != "!=")
