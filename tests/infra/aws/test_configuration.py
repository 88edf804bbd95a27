"""The `.tf` files by themselves: their form, their types, and their own tests, which reach no cloud."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.infra.aws.terraform import Terraform


def test_the_files_are_formatted(configuration: Terraform) -> None:
    configuration.run("fmt", "-check", "-recursive", "-diff")


def test_the_configuration_is_valid(configuration: Terraform) -> None:
    configuration.run("validate")


def test_its_own_tests_pass(configuration: Terraform) -> None:
    printed = configuration.run("test", "-no-color")
    assert re.search(r"^Success! [1-9][0-9]+ passed, 0 failed\.$", printed, re.MULTILINE), printed


def test_nothing_in_it_knows_of_a_simulator(configuration: Terraform) -> None:
    for path in files(configuration):
        assert not re.search(r"moto|127\.0\.0\.1|localhost|endpoints\s*\{|skip_[a-z_]+\s*=", path.read_text()), path


def test_nobody_gets_an_access_key(configuration: Terraform) -> None:
    for path in files(configuration):
        assert not re.search(r"aws_iam_(access_key|user)|(access|secret)_key\s*=", path.read_text()), path


def files(configuration: Terraform) -> Iterator[Path]:
    found = [path for path in configuration.folder.rglob("*.tf") if ".terraform" not in path.parts]
    assert found
    yield from found
