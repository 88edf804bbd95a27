"""A federation of the images alone: a read-only root, no capabilities, and a round that is published."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import requests

from tests.infra.containers.conftest import Images

CLIENTS = 2
_STATE = "/var/lib/fedtier"
_SHARED = f"{_STATE}/shared"
# They share the network of the tests' podman, in which loopback is theirs: no keys are asked for. A volume has the
# owner of the folder that it is put upon, which here is the state folder.
_OPTIONS = ("--network=host", f"--volume=state:{_STATE}")
_SECONDS = 240.0


@dataclass(frozen=True)
class Federation:
    """The exit status of each container that ended by itself."""

    images: Images
    statuses: Mapping[str, int]


@pytest.fixture(scope="module")
def federation(images: Images) -> Federation:
    """S3, a master, a worker and clients, after the clients trained one round."""
    images.run("server", "credentials", f"{_SHARED}/secrets", options=_OPTIONS)
    keys = json.loads(images.run("server", f"{_SHARED}/secrets/s3.json", program="cat", options=_OPTIONS))
    environment = (
        f"--env=AWS_ACCESS_KEY_ID={keys['access_key']}",
        f"--env=AWS_SECRET_ACCESS_KEY={keys['secret_key']}",
        *("--env=AWS_ENDPOINT_URL_S3=http://127.0.0.1:8333", "--env=AWS_REGION=us-east-1"),
    )
    images.run(
        "client",
        *("split", "--dataset=tabular", f"--clients={CLIENTS}", f"--saved-dir={_SHARED}/shards", "--no-picture"),
        "--init-model=tabular_cnn",
        options=_OPTIONS,
    )
    _start_servers(images, environment)
    clients = [f"client-{number}" for number in range(CLIENTS)]
    for name in clients:
        images.start(
            *(name, "client", "client", "--server=http://127.0.0.1:5001", f"--client-id={name}", "--task=tabular_cnn"),
            *(f"--data={_SHARED}/shards/{name}.safetensors", f"--state-dir={_STATE}/{name}", "--rounds=1"),
            options=_OPTIONS,
        )
    statuses = {name: images.podman.wait(name, timeout=_SECONDS) for name in ("master", *clients)}
    return Federation(images, statuses)


def _start_servers(images: Images, environment: tuple[str, ...]) -> None:
    """Start S3, the master, and the worker, each when the one that it talks to is ready."""
    images.start(
        *("s3", "server", "s3", "--bucket-name=round", f"--state-dir={_SHARED}/s3"),
        f"--credentials={_SHARED}/secrets/s3.json",
        options=_OPTIONS,
    )
    wait_for(images, "s3", "http://127.0.0.1:8333/healthz")
    images.start(
        *("master", "server", "master", "--bucket-name=round", "--bucket-key=model.safetensors", "--rounds=1"),
        *(f"--threshold={CLIENTS}", f"--web-model={_SHARED}/shards/initial.safetensors"),
        *(f"--state-dir={_SHARED}/master", "--exit-when-finished"),
        options=(*_OPTIONS, *environment),
    )
    wait_for(images, "master", "http://127.0.0.1:5000/readyz")
    images.start(
        *("worker", "server", "worker", "--master=http://127.0.0.1:5000", f"--state-dir={_STATE}/worker"),
        options=_OPTIONS,
    )
    wait_for(images, "worker", "http://127.0.0.1:5001/readyz")


def wait_for(images: Images, container: str, url: str) -> None:
    """Wait until a container answers well; that it ends before is a failure."""
    until = time.monotonic() + _SECONDS
    while images.podman.inspect(container)["State"]["Running"] and time.monotonic() < until:
        with contextlib.suppress(requests.ConnectionError), images.podman.network():
            if requests.get(url, timeout=10).ok:
                return
    raise AssertionError(f"{container} does not answer at {url}:\n{images.podman.logs(container)}")


def test_a_round_is_trained_and_published(federation: Federation) -> None:
    logs = {name: federation.images.podman.logs(name) for name in federation.statuses}

    assert set(federation.statuses.values()) == {0}, logs
    assert "published" in logs["master"]


def test_a_server_ends_by_itself_when_it_is_told_so(federation: Federation) -> None:
    podman = federation.images.podman

    podman.run("stop", "--time=120", "worker", "s3")

    statuses = {name: podman.inspect(name)["State"]["ExitCode"] for name in ("worker", "s3")}
    assert statuses == {"worker": 0, "s3": 0}, podman.logs("worker") + podman.logs("s3")


def test_tensorboard_shows_what_the_master_wrote(federation: Federation) -> None:
    images = federation.images
    images.start(
        *("tensorboard", "tensorboard", f"--logdir={_SHARED}/master/tensorboard", "--host=127.0.0.1", "--port=6006"),
        options=_OPTIONS,
    )
    wait_for(images, "tensorboard", "http://127.0.0.1:6006/")

    runs = _shown_runs(images)
    images.podman.run("stop", "--time=120", "tensorboard")

    assert runs
    assert images.podman.inspect("tensorboard")["State"]["ExitCode"] == 0, images.podman.logs("tensorboard")


def test_nothing_was_written_but_to_the_volume_and_to_tmp(federation: Federation) -> None:
    podman = federation.images.podman

    # Podman itself puts files of its own upon /etc, such as hosts.
    assert {podman.output("diff", name) for name in federation.statuses} == {"C /etc"}


def _shown_runs(images: Images) -> list[str]:
    """Return the runs that TensorBoard has read; it takes a while until it has."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with images.podman.network():
            if runs := requests.get("http://127.0.0.1:6006/data/runs", timeout=60).json():
                assert isinstance(runs, list)
                return runs
    return []
