"""The proof of the pipeline: submitted and run whole, it trains as one machine does, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.infra.containers import images
from tests.infra.containers.podman import Podman
from tests.infra.kubeflow.course import CLIENTS, ROUNDS, lose_both_clients, train_here
from tests.infra.kubeflow.site import Seen, Site, site
from tests.infra.minikube.mirror import mnist_mirror


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubeflow")


@pytest.fixture(scope="module")
def podman(base_images: Mapping[str, str], folder: Path) -> Iterator[Podman]:
    [server] = images.build("server")
    with Podman(folder, {**base_images, server.name: server.identity}) as started:
        yield started


@pytest.fixture(scope="module")
def place(podman: Podman, folder: Path) -> Iterator[Site]:
    with site(podman, folder) as started:
        yield started


@pytest.fixture(scope="module")
def here(folder: Path) -> Iterator[dict[str, Future[dict[int, str]]]]:
    """The SHA-256 of each round by task, of training on this machine; it goes on while pipelines run."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield {task: pool.submit(train_here, task, folder) for task in ("tabular_cnn", "mnist_cnn")}


@pytest.fixture(scope="module")
def tabular(place: Site, here: dict[str, Future[dict[int, str]]]) -> Seen:
    return place.run({"task": "tabular_cnn", "rounds": ROUNDS, "clients": len(CLIENTS)}, rounds=ROUNDS)


@pytest.fixture(scope="module")
def mnist(place: Site, podman: Podman, folder: Path, here: dict[str, Future[dict[int, str]]]) -> Seen:
    with mnist_mirror(podman, folder) as mirror:
        flags = {"task": "mnist_cnn", "rounds": ROUNDS, "clients": len(CLIENTS), "data-url": mirror}
        return place.run(flags, rounds=ROUNDS, harm=lambda seen: lose_both_clients(place, seen))


def test_tabular(tabular: Seen, here: dict[str, Future[dict[int, str]]]) -> None:
    print(tabular.told)
    print(tabular.printed)
    print(tabular.seconds, tabular.ends, tabular.left)
    assert tabular.status == 0
    assert {n: m["model"]["sha256"] for n, m in tabular.published.items()} == here["tabular_cnn"].result()
    assert tabular.left == []


def test_mnist(mnist: Seen, here: dict[str, Future[dict[int, str]]]) -> None:
    print(mnist.told)
    print(mnist.printed)
    print(mnist.seconds, mnist.ends, mnist.left)
    assert mnist.status == 0
    assert {n: m["model"]["sha256"] for n, m in mnist.published.items()} == here["mnist_cnn"].result()
    assert mnist.left == []
