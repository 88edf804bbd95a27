from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from client.datasets.partition import SCHEMES, Partition
from fedtier.flags import command
from fedtier_cli.split_flags import partition_flags, partition_of


@command("show")
@partition_flags
def show(**flags: Any) -> None:
    click.echo(repr((partition_of(flags), flags["rows"])))


def shown(*arguments: str) -> str:
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(show, arguments)


@pytest.mark.parametrize(
    ("arguments", "partition"),
    [
        ((), Partition("iid")),
        (("--n_label", "2"), Partition("uniform", n_label=2)),
        (("--n-data", "30"), Partition("uniform", n_data=30)),
        (("--partition", "uniform", "--n_label", "2", "--n_data", "3"), Partition("uniform", n_label=2, n_data=3)),
        (("--partition", "uniform"), Partition("uniform")),
        (("--partition", "shards"), Partition("shards")),
        (("--partition", "dirichlet"), Partition("dirichlet", alpha=0.5)),
        (("--partition", "dirichlet", "--alpha", "0.1"), Partition("dirichlet", alpha=0.1)),
        (("--partition", "quantity", "--alpha", "9"), Partition("quantity", alpha=9.0)),
    ],
)
def test_flags_say_how_data_are_split(arguments: tuple[str, ...], partition: Partition) -> None:
    assert shown(*arguments) == repr((partition, ()))


def test_rows_can_be_named_several_times() -> None:
    assert shown("--rows", "a.csv", "--rows", "http://b/c.csv").endswith("('a.csv', 'http://b/c.csv'))")


def test_the_help_says_what_every_scheme_does() -> None:
    text = " ".join(call("--help").output.split())
    for name, what in SCHEMES.items():
        assert f"{name}: {what}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--partition", "fair"),
        ("--n-label", "0"),
        ("--n-data", "-1"),
        ("--alpha", "0"),
        ("--alpha", "nan"),
        ("--alpha", "inf"),
    ],
)
def test_values_that_cannot_be_are_wrong_flags(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--alpha", "1"), "--alpha belongs to the partitions dirichlet and quantity, not to iid; leave one of them"),
        (("--alpha", "1", "--n_data", "2"), "--alpha belongs to the partitions dirichlet and quantity, not to uniform"),
        (("--partition", "iid", "--n_data", "2"), "--n-data belongs to the partition uniform, not to iid"),
        (("--partition", "shards", "--n_label", "2"), "--n-label belongs to the partition uniform, not to shards"),
    ],
)
def test_flags_that_contradict_each_other_get_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 1
    assert f"Error: {sentence}" in done.output
    assert len(done.output.splitlines()) == 1
