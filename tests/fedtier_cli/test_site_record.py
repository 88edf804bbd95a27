from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.problems import StartupError
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.servers import chosen_server
from fedtier_cli.site_record import record_site, recorded_site, require_site, use_s3_of
from tests.fedtier_cli.sites import site


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """One in which a run was started."""
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.write_federation(Federation(task="mnist_cnn", bucket="b", bucket_key="k", test_data="t"))
    return directory


def test_a_run_directory_knows_its_site_later(tmp_path: Path, directory: RunDirectory) -> None:
    record_site(directory, site(tmp_path))
    assert recorded_site(directory) == site(tmp_path)
    require_site(directory, site(tmp_path, server_url="https://another.example.org"))


def test_a_run_directory_is_of_one_federation(tmp_path: Path, directory: RunDirectory) -> None:
    with pytest.raises(StartupError, match="belongs to a federation on this machine, not to the federation lab in s3:"):
        require_site(directory, site(tmp_path))
    record_site(directory, site(tmp_path))
    with pytest.raises(StartupError, match=r"belongs to the federation lab in .*, not to a federation on this machine"):
        require_site(directory, None)
    with pytest.raises(StartupError, match="not to the federation other in "):
        require_site(directory, site(tmp_path, federation="other"))


def test_the_credentials_of_a_site_s_own_s3_take_the_place_of_mine(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "s3.json").write_text('{"access_key": "theirs", "secret_key": "s"}')
    environment = {"AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "mine", "HOME": "/"}
    use_s3_of(site(tmp_path), environment)
    assert environment["AWS_ACCESS_KEY_ID"] == "theirs"
    assert "mine" not in environment.values()


def test_mine_are_used_where_s3_is_that_of_aws(tmp_path: Path) -> None:
    environment = {"AWS_PROFILE": "mine", "AWS_REGION": "eu-west-1"}
    use_s3_of(site(tmp_path, aws={"AWS_REGION": "us-east-1"}), environment)
    assert environment == {"AWS_PROFILE": "mine", "AWS_REGION": "us-east-1"}


def test_whoever_looks_at_a_run_asks_its_server_and_whoever_steers_it_its_master(
    tmp_path: Path, directory: RunDirectory
) -> None:
    there = site(tmp_path)
    there.operator_token_file.parent.mkdir(parents=True)
    there.operator_token_file.write_text("a-token")
    there.operator_token_file.chmod(0o600)
    directory.write_federation(
        Federation(task="mnist_cnn", bucket="b", bucket_key="k", test_data="t", master=there.server_url)
    )
    record_site(directory, there)
    asked = chosen_server(None, directory.path, {})
    source = asked.source()
    assert (asked.url, asked.tls.ca_certs) == (there.server_url, there.ca_certs)
    assert source is not None
    assert source() == "a-token"
    assert chosen_server(None, directory.path, {}, operates=True).url == there.master_url
