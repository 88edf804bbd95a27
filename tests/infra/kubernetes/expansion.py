"""How Kubernetes puts variables into other variables, into words of a command, and into paths of volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]+)\))")


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Put values in for ``$(NAME)``; what has no value stays, and ``$$`` is a dollar."""

    def put(found: re.Match[str]) -> str:
        return "$" if found[1] is None else environment.get(found[1], found[0])

    return _REFERENCE.sub(put, text)
