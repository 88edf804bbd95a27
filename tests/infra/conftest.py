"""Marks every test below this folder, so that one part of `test.sh` runs them and no other does."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent
_LONGEST = _FOLDER / "test_bare_metal.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker("infra")
    # Where files are spread over processes, the rest runs beside the longest.
    items.sort(key=lambda item: item.path != _LONGEST)
