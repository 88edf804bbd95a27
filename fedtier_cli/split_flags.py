"""The flags that say how a data set is split, for every command that splits one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from client.datasets.partition import SCHEMES, Partition
from fedtier.flags import FiniteRange
from fedtier.problems import StartupError

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_COUNT: Final = click.IntRange(min=1)
_WITH_ALPHA: Final = ("dirichlet", "quantity")


def partition_flags(function: _Decorated) -> _Decorated:
    """Add ``--partition``, ``--alpha``, ``--n-label``, ``--n-data`` and ``--rows``."""
    schemes = "; ".join(f"{name}: {what}" for name, what in SCHEMES.items())
    usual = Partition()
    options = [
        click.option(
            "--partition",
            type=click.Choice(list(SCHEMES)),
            help="How the data set is split among clients. "
            f"{schemes}. [default: {usual.scheme}; uniform with --n-label or --n-data]",
        ),
        click.option(
            "--alpha",
            type=FiniteRange(min=0, min_open=True),
            help=f"Concentration, of {' and '.join(_WITH_ALPHA)} alone. [default: {usual.alpha}]",
        ),
        click.option("--n-label", type=_COUNT, help="Labels that each client has; of uniform alone. [default: all]"),
        click.option(
            "--n-data",
            type=_COUNT,
            help="Examples of each of its labels that a client has; of uniform alone. "
            "[default: as many as everybody can have]",
        ),
        click.option("--rows", multiple=True, help="CSV file or URL of the tabular data set; once per class."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def partition_of(flags: Mapping[str, Any]) -> Partition:
    """Return what the flags of `partition_flags` say together.

    Parameters
    ----------
    flags : Mapping of str to object
        ``partition``, ``alpha``, ``n_label`` and ``n_data``; None where a flag is not given.

    Raises
    ------
    StartupError
        They contradict each other.
    """
    alpha, n_label, n_data = flags["alpha"], flags["n_label"], flags["n_data"]
    is_counted = n_label is not None or n_data is not None
    scheme = flags["partition"] or ("uniform" if is_counted else Partition().scheme)
    if alpha is None:
        return Partition(scheme, n_label=n_label, n_data=n_data)
    if scheme not in _WITH_ALPHA:
        raise StartupError(
            f"--alpha belongs to the partitions {' and '.join(_WITH_ALPHA)}, not to {scheme}; leave one of them"
        )
    return Partition(scheme, alpha=alpha, n_label=n_label, n_data=n_data)
