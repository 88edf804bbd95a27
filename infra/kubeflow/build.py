"""What is fixed when the pipeline is compiled, and the flags by which it is chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import click

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

IMAGE: Final = "fedtier-kubeflow:0.1.0"
"""What tasks run in, where nobody names another."""
_ACCESS_MODES: Final = ("ReadWriteMany", "ReadWriteOnce")
_QUANTITY: Final = re.compile(r"[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is fixed when the pipeline is compiled.

    Parameters
    ----------
    image : str
        What tasks run in where a run does not name another.
    workspace_size : str
        Quantity; of the volume that tasks share.
    storage_class : str or None
        Of that volume; None for the cluster's default.
    access_mode : str
        Of that volume. ``ReadWriteOnce`` keeps all tasks on one node.
    run_as_user : int or None
        User id of the tasks, where the image's must not or cannot write to the volume.
    """

    image: str = IMAGE
    workspace_size: str = "5Gi"
    storage_class: str | None = None
    access_mode: str = _ACCESS_MODES[0]
    run_as_user: int | None = None

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> Build:
        """Return what the flags of `build_flags` say; one that is None, or not there, leaves what is usual."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: flags[name] for name in names if flags.get(name) is not None})


def build_flags(function: _Decorated) -> _Decorated:
    """Add ``--workspace-size``, ``--storage-class``, ``--access-mode`` and ``--run-as-user``; None where not given."""
    usual = Build()
    options = [
        click.option(
            "--workspace-size",
            callback=_quantity,
            help=f"Of the volume that tasks share. [default: {usual.workspace_size}]",
        ),
        click.option("--storage-class", help="Of that volume. [default: the cluster's]"),
        click.option(
            "--access-mode",
            type=click.Choice(_ACCESS_MODES),
            help=f"Of that volume; ReadWriteOnce keeps all tasks on one node. [default: {usual.access_mode}]",
        ),
        click.option("--run-as-user", type=click.IntRange(min=0), help="User id of the tasks. [default: the image's]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _quantity(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _QUANTITY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no size; wanted a number with a unit, such as 20Gi")
    return value
