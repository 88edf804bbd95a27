"""Where the playbooks and the Terraform files are: beside this package, in a checkout."""

from __future__ import annotations

from pathlib import Path

from fedtier.problems import StartupError


def infrastructure() -> Path:
    """Return the checkout's folder ``infra``.

    Raises
    ------
    StartupError
        This is no checkout.
    """
    checkout = Path(__file__).resolve().parents[2]
    found = checkout / "infra"
    if not (found / "ansible").is_dir():
        raise StartupError(
            f"there is no folder infra/ansible in {checkout}: other machines are set up from a checkout of fedtier, "
            "and this is an installed package; clone the repository and call the same there"
        )
    return found
