"""Fixtures of the tests that need Terraform; where it or its provider is missing, they say so in a line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.infra.aws.cloud import running_cloud
from tests.infra.aws.life import Life, live
from tests.infra.aws.site import site_in
from tests.infra.aws.terraform import NOT_OURS, ROOT, NotHere, Terraform, find_terraform, surroundings

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what is in this folder the time that a cloud takes, also a simulated one."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def terraform_here(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The program, and the environment in which it finds its AWS provider."""
    try:
        program, extra = find_terraform(tmp_path_factory.mktemp("terraform"))
    except NotHere as missing:
        pytest.skip(str(missing))
    return program, surroundings() | extra


@pytest.fixture(scope="module")
def configuration(terraform_here: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A copy of `infra/terraform` that has its provider, but no state."""
    program, environment = terraform_here
    folder = tmp_path_factory.mktemp("configuration") / "terraform"
    shutil.copytree(ROOT, folder, ignore=NOT_OURS)
    terraform = Terraform(program, folder, environment)
    terraform.run("init", "-backend=false", "-input=false")
    return terraform


@pytest.fixture(scope="module")
def life(terraform_here: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The life of one site, lived before the first test that asks for it."""
    folder = tmp_path_factory.mktemp("life")
    with running_cloud(folder / "simulator.log") as cloud:
        seen = live(site_in(folder / "checkout", cloud, *terraform_here), folder)
    print("seconds:", seen.seconds)
    return seen
