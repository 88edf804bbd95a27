from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedtier.rounds import BaseRound
from fedtier.serving.models import ModelShelf


def base(number: int) -> BaseRound:
    return BaseRound(round=number, sha256=f"{number:064x}", bytes=1, url="/v1")


class Source:
    """Counts what is fetched, and holds fetches up when told."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.held_up: dict[int, threading.Event] = {}
        self.asked = threading.Semaphore(0)
        self.broken = False

    def __call__(self, wanted: BaseRound, destination: Path) -> None:
        self.fetched.append(wanted.round)
        self.asked.release()
        if wanted.round in self.held_up:
            assert self.held_up[wanted.round].wait(30)
        if self.broken:
            raise ConnectionError("away")
        destination.write_bytes(bytes([wanted.round]))


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_model_is_fetched_once(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source)
    assert shelf.path(base(1)).read_bytes() == b"\x01"
    assert shelf.path(base(1)) == shelf.path(base(1))
    assert source.fetched == [1]


def test_many_who_want_one_model_wait_for_one_fetch(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source)
    source.held_up[1] = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(shelf.path, base(1)) for _ in range(8)]
        assert source.asked.acquire(timeout=30)
        source.held_up[1].set()
        assert len({future.result().read_bytes() for future in wanted}) == 1
    assert source.fetched == [1]


def test_a_slow_fetch_holds_nobody_up_who_wants_another_model(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source)
    shelf.path(base(1))
    source.asked.acquire()
    source.held_up[2] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(shelf.path, base(2))
        assert source.asked.acquire(timeout=30)
        assert shelf.path(base(1)).exists()
        assert shelf.path(base(3)).exists()
        assert not slow.done()
        source.held_up[2].set()


def test_the_least_wanted_model_is_let_go(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source, capacity=2)
    for number in (1, 2, 1, 3):
        shelf.path(base(number))
    assert {path.stem for path in tmp_path.iterdir()} == {base(1).sha256, base(3).sha256}
    shelf.path(base(2))
    assert source.fetched == [1, 2, 3, 2]


def test_a_fetch_that_failed_is_tried_again(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source)
    source.broken = True
    with pytest.raises(ConnectionError):
        shelf.path(base(1))
    source.broken = False
    assert shelf.path(base(1)).exists()


def test_a_file_of_this_machine_is_adopted_without_a_copy(tmp_path: Path, source: Source) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    shelf = ModelShelf(folder, source)
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    kept = shelf.adopt(mine, base(1).sha256)
    assert kept.samefile(mine)
    mine.unlink()
    assert shelf.path(base(1)).read_bytes() == b"mine"
    assert source.fetched == []


def test_what_an_earlier_process_left_is_not_trusted(tmp_path: Path, source: Source) -> None:
    (tmp_path / f"{base(1).sha256}.safetensors").write_bytes(b"half")
    shelf = ModelShelf(tmp_path, source)
    assert shelf.path(base(1)).read_bytes() == b"\x01"


def test_a_model_that_somebody_cleared_away_is_fetched_again(tmp_path: Path, source: Source) -> None:
    shelf = ModelShelf(tmp_path, source)
    shelf.path(base(1)).unlink()
    assert shelf.path(base(1)).read_bytes() == b"\x01"
    assert source.fetched == [1, 1]
