"""The flag by which hosts are reached, for every command that reaches some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
"""A file that is there."""


def key_flag(function: _Decorated) -> _Decorated:
    """Add ``--key-path``."""
    text = "SSH key for the hosts. [default: the inventory's, else your usual ones]"
    return click.option("--key-path", type=FILE, help=text)(function)
