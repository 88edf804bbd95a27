from __future__ import annotations

from pathlib import Path

import numpy as np

from client.models import BaseModels
from client.training import task_arrays
from fedtier.rounds import BaseRound
from fedtier.tensors import TensorFile
from tests.client.federation import make_status, model_bytes


def base_and_bytes(value: float) -> tuple[BaseRound, bytes]:
    arrays = {"w": np.full(2, value, np.float32)}
    return make_status(arrays).base, model_bytes(arrays)


class Server:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.fetched = 0

    def __call__(self, base: BaseRound, destination: Path) -> None:
        self.fetched += 1
        destination.write_bytes(self.content)


def test_a_model_is_fetched_once(tmp_path: Path) -> None:
    base, content = base_and_bytes(1)
    server = Server(content)

    for _ in range(2):
        assert BaseModels(tmp_path).require(base, server).read_bytes() == content
    assert server.fetched == 1


def test_a_damaged_model_from_before_a_crash_is_fetched_again(tmp_path: Path) -> None:
    base, content = base_and_bytes(1)
    server = Server(content)
    BaseModels(tmp_path).require(base, server).write_bytes(bytes(len(content)))

    assert BaseModels(tmp_path).require(base, server).read_bytes() == content
    assert server.fetched == 2


def test_the_next_model_replaces_the_last_and_what_was_left_of_its_download(tmp_path: Path) -> None:
    first, content = base_and_bytes(1)
    models = BaseModels(tmp_path)
    models.require(first, Server(content))
    models.path(first).with_name(models.path(first).name + ".part").write_bytes(b"half")
    second, content = base_and_bytes(2)

    models.require(second, Server(content))

    assert list(tmp_path.iterdir()) == [models.path(second)]


def test_a_task_may_keep_a_model_when_the_next_one_comes(tmp_path: Path) -> None:
    models = BaseModels(tmp_path)
    first, content = base_and_bytes(1)
    kept = task_arrays(TensorFile(models.require(first, Server(content))))
    second, content = base_and_bytes(2)

    came = task_arrays(TensorFile(models.require(second, Server(content))))

    assert (kept["w"].tolist(), came["w"].tolist()) == ([1, 1], [2, 2])


def test_what_a_task_writes_to_its_arrays_stays_out_of_the_model(tmp_path: Path) -> None:
    models = BaseModels(tmp_path)
    base, content = base_and_bytes(1)
    server = Server(content)
    arrays = task_arrays(TensorFile(models.require(base, server)))
    arrays["w"] += 1

    again = task_arrays(TensorFile(models.require(base, server)))

    assert server.fetched == 1
    assert (arrays["w"].tolist(), again["w"].tolist()) == ([2, 2], [1, 1])


def test_a_download_that_broke_off_is_left_to_go_on(tmp_path: Path) -> None:
    base, content = base_and_bytes(1)
    part = tmp_path / f"model-{base.sha256}.safetensors.part"
    part.write_bytes(content[:10])

    def goes_on(_: BaseRound, destination: Path) -> None:
        assert part.read_bytes() == content[:10]
        part.rename(destination)
        destination.write_bytes(content)

    assert BaseModels(tmp_path).require(base, goes_on).read_bytes() == content
