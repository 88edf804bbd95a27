"""Calls of ``fedtier split`` on the tables that come with the client, as a person makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from fedtier_cli.main import main


def split(*arguments: str | Path | int, environment: Mapping[str, str] | None = None) -> Result:
    return CliRunner(env=environment).invoke(main, ["split", "--dataset", "tabular", *map(str, arguments)])


def done(*arguments: str | Path | int, environment: Mapping[str, str] | None = None) -> str:
    """Return what a call prints that ends well."""
    result = split(*arguments, environment=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path | int) -> str:
    """Return the one line that a call says which cannot be."""
    result = split(*arguments)
    assert result.exit_code == 1, result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr
