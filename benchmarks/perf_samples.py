"""What `perf` saw: which part of which tier each sample was in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Spent: TypeAlias = dict[str, dict[str, int]]
"""Samples of each tier, by what it was doing; the most first."""

OTHERS: Final = "others"
"""Whatever is no process of a tier, the benchmark included."""
IDLE: Final = "idle"

# A line of `perf script -F pid,ip,sym,dso`: process, address, symbol, file.
_SAMPLE: Final = re.compile(r"^\s*(\d+)\s+[0-9a-f]+ (.*) \((.*)\)$")
_KERNEL: Final = "[kernel"
_NUMPY: Final = "_multiarray_umath"
_PYTHON: Final = re.compile(r"^(lib)?python3")


def spent(lines: Iterable[str], tiers: Mapping[int, str]) -> Spent:
    """Count samples.

    Parameters
    ----------
    lines : iterable of str
        Of ``perf script -F pid,ip,sym,dso``, one sample each; others are passed over.
    tiers : Mapping of int to str
        Tiers by process.
    """
    counted: dict[str, Counter[str]] = {}
    for line in lines:
        found = _SAMPLE.match(line)
        if found is None:
            continue
        pid, symbol, file = int(found[1]), found[2], found[3]
        tier = IDLE if pid == 0 else tiers.get(pid, OTHERS)
        counted.setdefault(tier, Counter())[_what(symbol, file)] += 1
    return {tier: dict(parts.most_common()) for tier, parts in counted.items()}


def _what(symbol: str, file: str) -> str:
    """Name what a sample was in: a function where functions tell something, else the library as a whole."""
    name = file.rpartition("/")[2]
    if file.startswith(_KERNEL):
        return f"kernel: {symbol}"
    if _PYTHON.match(name):
        return "Python interpreter"
    if name.startswith(_NUMPY):
        return f"NumPy: {symbol}"
    return name.partition(".")[0]
