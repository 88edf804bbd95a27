"""The event file on disk, as TensorBoard's own reader finds it."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master_aggregator.event_records import Models, evaluation_record, round_record
from master_aggregator.events_file import EventsFile, InUse
from tests.scalars import accumulated, read_scalars, steps

MODELS = Models("a" * 64, "b" * 64)


def a_round(number: int, extra: int = 0) -> bytes:
    more = {f"devices/client-{device}/loss": 1.0 for device in range(extra)}
    return round_record(number, 1000.0 + number, MODELS, {"clients/counted": 10.0 * number, **more})


def a_test(number: int) -> bytes:
    return evaluation_record(number, 1000.0 + number, {"global/accuracy": number / 8})


@contextmanager
def opened(folder: Path) -> Iterator[EventsFile]:
    file = EventsFile(folder)
    try:
        yield file
    finally:
        file.close()


def write(folder: Path, *records: bytes) -> Path:
    """Write records and return the file that holds them."""
    with opened(folder) as file:
        for record in records:
            file.add([record])
    return the_file(folder)


def the_file(folder: Path) -> Path:
    return max(folder.glob("*tfevents*"))


def known(folder: Path) -> list[tuple[str, int]]:
    with opened(folder) as file:
        return [(stamp.kind, stamp.round) for stamp in file.stamps[2:]]


def test_tensorboard_reads_every_value_at_its_round(tmp_path: Path) -> None:
    write(tmp_path, a_round(1), a_test(1), a_round(2))

    assert read_scalars(tmp_path) == {
        "clients/counted": [(1, 10.0), (2, 20.0)],
        "global/accuracy": [(1, 0.125)],
    }


def test_the_custom_scalars_tab_has_its_layout_before_the_first_round(tmp_path: Path) -> None:
    write(tmp_path, a_round(1))

    tags = accumulated(tmp_path).Tags()
    assert tags["tensors"] == ["custom_scalars__config__"]


def test_an_opened_file_knows_what_stands_in_it(tmp_path: Path) -> None:
    write(tmp_path, a_round(1), a_round(2), a_test(0))

    with opened(tmp_path) as file:
        assert [(stamp.kind, stamp.round) for stamp in file.stamps] == [
            *(("version", 0), ("layout", 0)),
            *(("round", 1), ("round", 2), ("evaluation", 0)),
        ]
        assert file.newest_round == 2
        assert file.round_stamp(2).models == MODELS


def test_what_stands_in_the_file_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, a_round(1), a_test(1), a_round(1), a_test(1))
    write(tmp_path, a_round(1), a_test(1), a_round(2))

    assert steps(tmp_path, "clients/counted") == [1, 2]
    assert steps(tmp_path, "global/accuracy") == [1]


def test_a_tail_torn_at_any_byte_is_cut_and_written_again_once(tmp_path: Path) -> None:
    before = write(tmp_path / "whole", a_round(1), a_test(1)).stat().st_size
    whole = write(tmp_path / "whole", a_round(2)).read_bytes()
    assert before < len(whole) - 100

    for end in range(before, len(whole)):
        folder = tmp_path / f"torn-{end}"
        folder.mkdir()
        (folder / the_file(tmp_path / "whole").name).write_bytes(whole[:end])

        assert known(folder) == [("round", 1), ("evaluation", 1)]
        write(folder, a_round(2))
        assert the_file(folder).read_bytes() == whole


def test_a_heading_torn_at_any_byte_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path / "whole", a_round(1))
    whole = the_file(tmp_path / "whole").read_bytes()
    with opened(tmp_path / "whole") as file:
        assert len(file.stamps) == 3

    for end in range(0, len(whole), 7):
        folder = tmp_path / f"torn-{end}"
        folder.mkdir()
        (folder / the_file(tmp_path / "whole").name).write_bytes(whole[:end])
        write(folder, a_round(1))
        assert the_file(folder).read_bytes() == whole


@settings(max_examples=50, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_byte_that_changed_costs_no_round_before_it_and_the_file_is_kept_aside(
    place: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    file = write(folder, a_round(1), a_test(1), a_round(2), a_round(3))
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= flip
    file.write_bytes(content)

    before = known(folder)

    assert before in [[], *([("round", 1), ("evaluation", 1), ("round", 2)][:end] for end in range(1, 4))]
    # A length that says more than there is looks like a torn tail, but has no right checksum.
    assert (folder / "set-aside-1.fedtier").read_bytes() == content
    write(folder, a_round(1), a_test(1), a_round(2), a_round(3))
    assert steps(folder, "clients/counted") == [1, 2, 3]
    assert steps(folder, "global/accuracy") == [1]


@pytest.mark.parametrize("content", [b"hello, this is not an event file", bytes(100)])
def test_a_file_of_something_else_is_kept_aside_where_tensorboard_does_not_read_it(
    content: bytes, tmp_path: Path
) -> None:
    name = the_file_name(tmp_path)
    (tmp_path / name).write_bytes(content)

    write(tmp_path, a_round(1))

    assert (tmp_path / "set-aside-1.fedtier").read_bytes() == content
    assert steps(tmp_path, "clients/counted") == [1]


def test_files_that_are_set_aside_do_not_take_each_others_names(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        write(tmp_path, a_round(expected))
        with opened(tmp_path) as file:
            file.set_aside("a test wants it")
        assert len(list(tmp_path.glob("set-aside-*"))) == expected
    assert known(tmp_path) == []


def the_file_name(folder: Path) -> str:
    """Return the name that a folder's first file has."""
    with opened(folder):
        name = the_file(folder).name
    (folder / name).unlink()
    return name


def test_an_evaluation_of_an_earlier_round_gets_its_place_in_the_order(tmp_path: Path) -> None:
    """TensorBoard's data server forgets the higher steps of a tag when a lower one comes after them."""
    write(tmp_path, a_round(1), a_round(2), a_round(3), a_test(3), a_test(1))
    write(tmp_path, a_test(2), a_round(4))
    write(tmp_path)

    assert steps(tmp_path, "global/accuracy") == [1, 2, 3]
    assert steps(tmp_path, "clients/counted") == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [the_file(tmp_path)]


def test_a_reader_that_is_at_the_file_goes_on_to_the_one_that_replaces_it(tmp_path: Path) -> None:
    write(tmp_path, a_round(1), a_round(2), a_test(2))
    reader = accumulated(tmp_path)

    with opened(tmp_path) as file:
        file.add([a_test(1)])
        reader.Reload()
        file.add([a_round(3)])
        reader.Reload()

    assert {point.step for point in reader.Scalars("global/accuracy")} == {1, 2}
    assert [point.step for point in reader.Scalars("clients/counted")][-1] == 3


@given(
    order=st.permutations(
        [*(("round", number) for number in range(1, 5)), *(("evaluation", number) for number in range(5))]
    ),
    sizes=st.lists(st.integers(1, 4), min_size=9, max_size=9),
)
@settings(max_examples=30, deadline=None)
def test_evaluations_in_any_order_stand_once_and_rising(
    order: list[tuple[str, int]], sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    rounds = iter(range(1, 5))  # rounds come in their order
    records = [a_round(next(rounds)) if kind == "round" else a_test(number) for kind, number in order]

    with opened(folder) as file:
        for several in pieces(records, sizes):
            file.add(several)

    assert steps(folder, "clients/counted") == [1, 2, 3, 4]
    assert steps(folder, "global/accuracy") == [0, 1, 2, 3, 4]


def pieces(records: list[bytes], sizes: Iterable[int]) -> Iterator[list[bytes]]:
    left = list(records)
    for size in sizes:
        yield left[:size]
        del left[:size]


def test_a_file_that_was_not_finished_and_one_that_was_replaced_are_gone_after_a_crash(tmp_path: Path) -> None:
    old = write(tmp_path, a_round(1))
    newer = old.with_name(old.name.replace("0000000001", "0000000002"))
    newer.write_bytes(old.read_bytes())
    (tmp_path / "unfinished.fedtier").write_bytes(b"half")

    assert known(tmp_path) == [("round", 1)]

    assert [path.name for path in tmp_path.iterdir()] == [newer.name]


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InUse, match="another process writes into"):
        EventsFile(tmp_path)


def test_a_file_that_somebody_removed_or_cut_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.add([a_round(1)])
        assert file.is_intact()
        os.truncate(the_file(tmp_path), 10)
        assert not file.is_intact()
    with opened(tmp_path) as file:
        the_file(tmp_path).unlink()
        assert not file.is_intact()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    before = write(tmp_path, a_round(1)).read_bytes()

    with opened(tmp_path) as file, full_beyond(len(before) + 1000):
        with pytest.raises(OSError, match="File too large") as caught:
            file.add([a_round(2, extra=100)])
        assert caught.value.errno == errno.EFBIG
        after = the_file(tmp_path).read_bytes()
        assert file.is_intact()
        file.add([a_round(2)])

    assert after == before
    assert steps(tmp_path, "clients/counted") == [1, 2]


def test_a_disk_that_is_full_while_the_file_is_written_anew_leaves_the_old_one(tmp_path: Path) -> None:
    before = write(tmp_path, a_round(1), a_round(2, extra=100), a_test(2)).read_bytes()

    with opened(tmp_path) as file, full_beyond(len(before) // 2), pytest.raises(OSError, match="File too large"):
        file.add([a_test(1)])

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
    with opened(tmp_path) as file:
        file.add([a_test(1)])
    assert steps(tmp_path, "global/accuracy") == [1, 2]


def test_a_file_that_cannot_be_opened_closes_no_file_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    file = EventsFile(tmp_path / "scores")
    file.add([a_round(1)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_more)
        with pytest.raises(OSError, match="Too many open files"):
            file.set_aside("a test wants it")
    with (tmp_path / "other").open("wb") as other:  # takes the first number that is free
        assert not file.is_intact()
        file.close()
        file.close()
        other.write(b"still open")

    assert (tmp_path / "other").read_bytes() == b"still open"
    assert known(tmp_path / "scores") == []


@contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """Have writes beyond a size fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
