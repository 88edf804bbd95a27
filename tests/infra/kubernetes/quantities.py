"""Amounts of memory, disk and processors, as Kubernetes writes them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([mkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_SUFFIXES: Final = {"": Fraction(1), "m": Fraction(1, 1000)}
_LARGE: Final = "kMGTPE"


def quantity(value: str | float) -> Fraction:
    """Return an amount in units: bytes, or processors.

    Raises
    ------
    ValueError
        It is none that Kubernetes takes.
    """
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{value!r} is no quantity")
    number, suffix = Fraction(found[1]), found[2] or ""
    if suffix in _SUFFIXES:
        return number * _SUFFIXES[suffix]
    if suffix[0] in "eE" and suffix[1:]:
        return number * Fraction(10) ** int(suffix[1:])
    power = "KMGTPE".index(suffix[0]) + 1 if suffix.endswith("i") else _LARGE.index(suffix) + 1
    return number * Fraction(1024 if suffix.endswith("i") else 1000) ** power
