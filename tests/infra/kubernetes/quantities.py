"""Amounts of memory, disk and processors, as Kubernetes writes them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+)|([mkMGTPE]|[KMGTPE]i)?)")
_UNITS: Final = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    **{name: Fraction(1000) ** power for power, name in enumerate("kMGTPE", start=1)},
    **{f"{name}i": Fraction(1024) ** power for power, name in enumerate("KMGTPE", start=1)},
}


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
    number, exponent, suffix = found.groups()
    unit = Fraction(10) ** int(exponent) if exponent else _UNITS[suffix or ""]
    return Fraction(number) * unit
