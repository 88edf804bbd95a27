"""Small changes of healthy manifests, each in a line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.infra.kubernetes.manifests import Manifests, where

GONE: Final = object()
"""Stands for a member that is taken out."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """Something is set in one object.

    Parameters
    ----------
    target : str
        The object, ``Kind/name``.
    path : str
        Where in it: names of members, with spaces between; in a list, the name or the index of the item.
    value : object
        What stands there then; `GONE` takes it out, and a callable makes it of what stood there.
    """

    target: str
    path: str
    value: object

    def __str__(self) -> str:
        value = "gone" if self.value is GONE else getattr(self.value, "__name__", self.value)
        return f"{self.target} {self.path} {value}"

    def of(self, manifests: Manifests) -> Manifests:
        """Return the manifests with the change.

        Raises
        ------
        LookupError
            There is no such place.
        """
        objects = copy.deepcopy(manifests.objects)
        holder: Any = next(one for one in objects if where(one) == self.target)
        *names, last = self.path.split()
        for name in names:
            holder = holder[_key(holder, name)]
        key = _key(holder, last)
        if self.value is GONE:
            del holder[key]
        else:
            holder[key] = self.value(holder[key]) if callable(self.value) else self.value
        return Manifests(objects)


@dataclass(frozen=True, slots=True)
class Lost:
    """An object is not there."""

    target: str

    def __str__(self) -> str:
        return f"{self.target} lost"

    def of(self, manifests: Manifests) -> Manifests:
        left = tuple(one for one in manifests.objects if where(one) != self.target)
        assert len(left) < len(manifests.objects), self.target
        return Manifests(left)


@dataclass(frozen=True, slots=True)
class Added:
    """There is one object more, in the namespace of the others."""

    kind: str
    name: str
    content: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} added"

    def of(self, manifests: Manifests) -> Manifests:
        metadata = {"name": self.name, "namespace": "fedtier"}
        return Manifests((*manifests.objects, {"kind": self.kind, "metadata": metadata, **self.content}))


def each_of(cases: Mapping[str, Sequence[Mutation | Lost | Added]]) -> pytest.MarkDecorator:
    """Return what calls a test with each mutation, and the name of the rule that is to object."""
    parameters = [(name, mutation) for name, mutations in cases.items() for mutation in mutations]
    return pytest.mark.parametrize(("name", "mutation"), parameters, ids=str)


def more(**members: Any) -> Callable[[Any], Any]:
    """Return what adds members to a mapping, or to a list an item that has them."""

    def add(holder: Any) -> Any:
        return {**holder, **members} if isinstance(holder, dict) else [*holder, members]

    add.__name__ = f"more {members}"
    return add


def _key(holder: Any, name: str) -> Any:
    if isinstance(holder, dict):
        return name
    if name.isdigit():
        return int(name)
    return next(index for index, one in enumerate(holder) if one.get("name", one.get("mountPath")) == name)
