from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.site import Site
from fedtier_cli.display import LineDisplay
from fedtier_cli.local_commands import train
from fedtier_cli.remote import prepared
from fedtier_cli.remote_flags import remote_options
from fedtier_cli.rundir import RunDirectory
from fedtier_cli.training_run import RunOptions, Surroundings
from tests.fedtier_cli.deploying.plays_here import inventory_file
from tests.fedtier_cli.published_models import Publisher, steps
from tests.fedtier_cli.sites import site

pytestmark = pytest.mark.system


@pytest.fixture
def there(
    tmp_path: Path,
    s3_environment: Mapping[str, str],
    bucket: str,
    bucket_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """A federation whose S3 is there, and whose secrets are on this machine."""
    for name in ("AWS_CA_BUNDLE", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that it is again what it was
    where = {"AWS_REGION": s3_environment["AWS_REGION"], "AWS_ENDPOINT_URL_S3": s3_environment["AWS_ENDPOINT_URL_S3"]}
    found = site(tmp_path, bucket_name=bucket, bucket_key=bucket_key, task="tabular_cnn", aws=where)
    keys = {"access_key": s3_environment["AWS_ACCESS_KEY_ID"], "secret_key": s3_environment["AWS_SECRET_ACCESS_KEY"]}
    for path in (found.operator_token_file, found.ca_certs, found.secrets_dir / "s3.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(keys))
    return found


def options(there: Site, *words: str) -> RunOptions:
    params = train.make_context("train", ["--inventory", "hosts.yml", *words]).params
    return remote_options(params, there, Path("hosts.yml"), last_round=1)


def prepare(tmp_path: Path, there: Site, *words: str) -> RunDirectory:
    """Prepare a run, and return its directory."""
    playbooks = Playbooks(inventory_file(tmp_path, {"lab-1": {}}), folder=tmp_path)
    display = LineDisplay(Console(file=io.StringIO()))
    surroundings = Surroundings(tmp_path / "home", dict(os.environ))
    with prepared(options(there, *words), playbooks, there, there.server_url, surroundings, display) as run:
        return run.directory


def test_the_directory_of_a_run_is_that_of_its_federation(tmp_path: Path, there: Site) -> None:
    directory = prepare(tmp_path, there)
    assert directory.path == tmp_path / "home" / "runs" / "lab"
    assert prepare(tmp_path, there) == directory
    with pytest.raises(StartupError, match="belongs to the task tabular_cnn, not mnist_2nn"):
        prepare(tmp_path, there, "--model", "mnist_2nn")


def test_another_task_than_the_published_one_is_refused_and_leaves_no_record(tmp_path: Path, there: Site) -> None:
    Publisher(RoundStore(there.bucket_name, there.bucket_key), tmp_path).publish(steps(1, 2))
    new = tmp_path / "new"
    with pytest.raises(StartupError, match=r"round 0 in s3://.* is no model of the task tabular_cnn: "):
        prepare(tmp_path, there, "--run-dir", str(new))
    assert not RunDirectory(new).has_record


def test_a_threshold_beyond_the_inventory_s_clients_is_refused_in_its_words(tmp_path: Path, there: Site) -> None:
    with pytest.raises(StartupError, match=r"--threshold 4 is more than the 3 clients .* or have more client_ids in"):
        prepare(tmp_path, there, "--threshold", "4")


def test_who_has_not_the_federation_s_secrets_is_told_before_anything_is_made(tmp_path: Path, there: Site) -> None:
    there.operator_token_file.unlink()
    with pytest.raises(StartupError, match=r"operator\.token is not there, so nobody here may ask the federation lab"):
        prepare(tmp_path, there)
    assert not (tmp_path / "home").exists()
