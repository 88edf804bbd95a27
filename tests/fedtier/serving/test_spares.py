from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtier.serving.spares import LEAST_BYTES, SpareFiles

KIB = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "spares"
    folder.mkdir()
    return folder


@pytest.fixture
def done(tmp_path: Path) -> Callable[[int], Path]:
    """Makes files that nobody needs any more."""

    def make(size: int) -> Path:
        path = tmp_path / f"body-{os.urandom(4).hex()}"
        path.write_bytes(b"o" * size)
        return path

    return make


def sizes(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in folder.iterdir())


def test_the_next_body_gets_the_file_of_one_that_is_done(
    folder: Path, done: Callable[[int], Path], tmp_path: Path
) -> None:
    spares, body = SpareFiles(folder), done(100 * KIB)
    number = body.stat().st_ino
    spares.keep(body)
    assert (body.exists(), spares.taken) == (False, 100 * KIB)
    spares.give(tmp_path / "next", 90 * KIB)
    assert (tmp_path / "next").stat().st_ino == number
    assert (spares.taken, sizes(folder)) == (0, [])
    spares.give(tmp_path / "another", 90 * KIB)
    assert not (tmp_path / "another").exists(), "there was one"


def test_a_body_gets_the_smallest_file_that_holds_it_else_the_largest(
    folder: Path, done: Callable[[int], Path], tmp_path: Path
) -> None:
    spares, bodies = SpareFiles(folder), {size: done(size * KIB) for size in (300, 100, 200)}
    numbers = {body.stat().st_ino: size for size, body in bodies.items()}
    for body in bodies.values():
        spares.keep(body)
    got = []
    for number, wanted in enumerate((150, 250, 250)):
        spares.give(tmp_path / f"next-{number}", wanted * KIB)
        got.append(numbers[(tmp_path / f"next-{number}").stat().st_ino])
    assert got == [200, 300, 100]


def test_a_file_is_cut_off_to_what_it_is_given_for(folder: Path, done: Callable[[int], Path], tmp_path: Path) -> None:
    spares = SpareFiles(folder)
    spares.keep(done(300 * KIB))
    spares.give(tmp_path / "next", 100 * KIB)
    assert (tmp_path / "next").stat().st_size == 100 * KIB


def test_few_bytes_and_few_files_are_kept(folder: Path, done: Callable[[int], Path]) -> None:
    by_bytes = SpareFiles(folder, most_bytes=250 * KIB)
    bodies = [done(100 * KIB) for _ in range(3)]
    for body in bodies:
        by_bytes.keep(body)
    assert (by_bytes.taken, sizes(folder)) == (200 * KIB, [100 * KIB] * 2)
    assert not any(body.exists() for body in bodies)
    by_bytes.clear()
    assert (by_bytes.taken, sizes(folder)) == (0, [])
    by_number = SpareFiles(folder, most_files=1)
    by_number.keep(done(100 * KIB))
    by_number.keep(done(100 * KIB))
    assert sizes(folder) == [100 * KIB]


def test_a_small_body_neither_becomes_a_spare_file_nor_gets_one(
    folder: Path, done: Callable[[int], Path], tmp_path: Path
) -> None:
    spares, small = SpareFiles(folder), done(LEAST_BYTES - 1)
    spares.keep(small)
    assert (small.exists(), sizes(folder)) == (False, [])
    spares.keep(done(100 * KIB))
    spares.give(tmp_path / "next", LEAST_BYTES - 1)
    assert not (tmp_path / "next").exists()


def test_room_is_made_by_deleting(folder: Path, done: Callable[[int], Path]) -> None:
    spares = SpareFiles(folder)
    for _ in range(3):
        spares.keep(done(100 * KIB))
    assert spares.shrink(250 * KIB)
    assert sizes(folder) == [100 * KIB] * 2
    assert not spares.shrink(200 * KIB), "no more than that are kept"
    assert spares.shrink(0)
    assert (spares.taken, sizes(folder)) == (0, [])


def test_what_is_not_there_is_no_loss(folder: Path, done: Callable[[int], Path], tmp_path: Path) -> None:
    spares = SpareFiles(folder)
    spares.keep(tmp_path / "gone")
    spares.keep(done(100 * KIB))
    for path in folder.iterdir():
        path.unlink()  # somebody cleans up
    spares.give(tmp_path / "next", 100 * KIB)
    assert not (tmp_path / "next").exists()
    assert spares.taken == 0


def test_what_cannot_be_kept_is_deleted(folder: Path, done: Callable[[int], Path]) -> None:
    spares, body = SpareFiles(folder), done(100 * KIB)
    folder.rmdir()
    spares.keep(body)
    assert (body.exists(), spares.taken) == (False, 0)


def test_what_an_earlier_process_kept_is_deleted(folder: Path, done: Callable[[int], Path]) -> None:
    SpareFiles(folder).keep(done(100 * KIB))
    SpareFiles(folder).clear()
    assert sizes(folder) == []
