"""Writes docs/openapi.yaml, the OpenAPI document of a master, which has every operation there is.

``python -m scripts.write_openapi``
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from fedtier.serving.openapi import openapi_document
from fedtier.serving.operations import OPERATOR, SHARED

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "openapi.yaml"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it reads, and what occurs twice twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def openapi_yaml() -> str:
    """Return the file's text."""
    document: Any = openapi_document((*SHARED, *OPERATOR))
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(openapi_yaml())
