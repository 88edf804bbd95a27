"""What a Role allows, as the API server's authoriser reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Rule:
    """So much of a Role; a `*` stands for everything."""

    groups: frozenset[str]
    resources: frozenset[str]
    verbs: frozenset[str]
    names: frozenset[str] = frozenset()

    def allows(self, verb: str, group: str, resource: str, name: str) -> bool:
        """Return whether it allows something; one with names never allows what has none yet."""
        return (
            _is_in(group, self.groups)
            and _is_in(resource, self.resources)
            and _is_in(verb, self.verbs)
            and (not self.names or name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Rights:
    """The rules of Roles that are bound to somebody."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]]) -> Rights:
        """Return what the Roles among documents allow."""
        return cls(
            tuple(
                Rule(
                    frozenset(rule["apiGroups"]),
                    frozenset(rule["resources"]),
                    frozenset(rule["verbs"]),
                    frozenset(rule.get("resourceNames", ())),
                )
                for document in documents
                if document["kind"] == "Role"
                for rule in document["rules"]
            )
        )

    @classmethod
    def read(cls, path: Path) -> Rights:
        """Return what the Roles of a file allow."""
        return cls.of(document for document in yaml.safe_load_all(path.read_text()) if document)

    def allow(self, verb: str, group: str, resource: str, name: str = "") -> bool:
        """Return whether something is allowed; `resource` is with its part, such as ``pods/log``."""
        return any(rule.allows(verb, group, resource, name) for rule in self.rules)


def _is_in(word: str, words: frozenset[str]) -> bool:
    return word in words or "*" in words
