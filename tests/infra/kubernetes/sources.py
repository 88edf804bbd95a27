"""Which variables a command of fedtier reads, found in its sources.

From the function that a command runs, every function, class and constant is followed that its code names, through
imports. A text among them that is the whole name of a variable is one that the command reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from tests.infra.programs import CHECKOUT

PACKAGES: Final = ("fedtier", "client", "worker_aggregator", "master_aggregator", "fedtier_cli")
_VARIABLE: Final = re.compile(r"FEDTIER_[A-Z_]+")

Place = tuple[str, str]
"""A module, and a name at its top level."""


@dataclass(frozen=True, slots=True)
class Module:
    """What a module defines at its top level, and what it imports, by the names that it uses."""

    defined: dict[str, ast.AST] = field(default_factory=dict)
    imported: dict[str, Place] = field(default_factory=dict)


class Sources:
    """The project's own modules, each read once, as is what a function leads to.

    Parameters
    ----------
    checkout : Path
    """

    def __init__(self, checkout: Path) -> None:
        self._modules = {
            _name_of(path.relative_to(checkout)): _read(path)
            for package in PACKAGES
            for path in (checkout / package).rglob("*.py")
        }
        self._reached: dict[Place, dict[Place, ast.AST]] = {}
        self._variables: dict[Place, set[str]] = {}

    def reached_from(self, module: str, name: str) -> dict[Place, ast.AST]:
        """Return everything that a function's code leads to, itself included."""
        if (module, name) not in self._reached:
            self._reached[module, name] = self._walked_from(module, name)
        return self._reached[module, name]

    def _walked_from(self, module: str, name: str) -> dict[Place, ast.AST]:
        found: dict[Place, ast.AST] = {}
        waiting = [(module, name)]
        while waiting:
            place = waiting.pop()
            node = self._node(place)
            if node is not None and place not in found:
                found[place] = node
                waiting += self._named_in(place[0], node)
        return found

    def variables_read_from(self, module: str, name: str) -> set[str]:
        """Return the variables ``FEDTIER_...`` that code reads by themselves, not those of flags."""
        if (module, name) not in self._variables:
            texts = (
                one.value
                for node in self.reached_from(module, name).values()
                for one in ast.walk(node)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
            self._variables[module, name] = {text for text in texts if _VARIABLE.fullmatch(text)}
        return self._variables[module, name]

    def _node(self, place: Place) -> ast.AST | None:
        module = self._modules.get(place[0])
        return None if module is None else module.defined.get(place[1])

    def _named_in(self, module: str, node: ast.AST) -> Iterator[Place]:
        imported = self._modules[module].imported
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                yield imported.get(one.id, (module, one.id))
            elif isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in imported:
                package, name = imported[one.value.id]
                yield f"{package}.{name}", one.attr


@cache
def sources() -> Sources:
    """Return those of this checkout, which do not change while tests run."""
    return Sources(CHECKOUT)


def _name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = Module()
    for node in tree.body:
        for name in _names_made_by(node):
            module.defined[name] = node
    for below in ast.walk(tree):
        if isinstance(below, ast.ImportFrom) and below.module:
            module.imported.update({one.asname or one.name: (below.module, one.name) for one in below.names})
    return module


def _names_made_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
