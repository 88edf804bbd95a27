from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.datasets.shards import Shard
from client.datasets.tabular import load_tabular
from fedtier.problems import StartupError
from tests.client.loopback import Reply, Request, serve

HEADER = [f"feature{number}" for number in range(17)]


def numbered_rows(label: int, count: int) -> npt.NDArray[np.float32]:
    """Return rows that tell class and number."""
    return np.arange(count, dtype=np.float32)[:, None] + np.full(17, label * 10_000, np.float32)


def csv_text(rows: npt.NDArray[np.float32], header: Sequence[str] = ()) -> str:
    lines = [",".join(header)] if header else []
    return "".join(f"{line}\n" for line in [*lines, *(",".join(map(str, row)) for row in rows.tolist())])


def two_files(directory: Path, counts: tuple[int, int], header: Sequence[str] = HEADER) -> tuple[str, str]:
    paths = directory / "quiet.csv", directory / "loud.csv"
    for label, (path, count) in enumerate(zip(paths, counts, strict=True)):
        path.write_text(csv_text(numbered_rows(label, count), header))
    return str(paths[0]), str(paths[1])


def refusal(first: str, second: str) -> str:
    with pytest.raises(StartupError) as caught:
        load_tabular(first, second)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def per_class(shard: Shard) -> list[int]:
    counts: list[int] = np.bincount(shard.labels, minlength=2).tolist()
    return counts


@settings(deadline=None, max_examples=20)
@given(first=st.integers(2, 60), second=st.integers(2, 60))
def test_every_row_is_once_in_training_or_test_with_the_label_of_its_file(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int
) -> None:
    split = load_tabular(*two_files(tmp_path_factory.mktemp("rows"), (first, second)))

    assert per_class(split.test) == [max(1, first // 5), max(1, second // 5)]
    inputs = np.concatenate([split.train.inputs, split.test.inputs])
    labels = np.concatenate([split.train.labels, split.test.labels])
    assert inputs.dtype == np.float32
    assert labels.dtype == np.uint8
    wanted = np.concatenate([numbered_rows(0, first), numbered_rows(1, second)])
    order = np.argsort(inputs[:, 0])
    np.testing.assert_array_equal(inputs[order], wanted)
    np.testing.assert_array_equal(labels[order], wanted[:, 0] >= 10_000)


def test_the_classes_are_mixed_and_the_rows_shuffled(tmp_path: Path) -> None:
    split = load_tabular(*two_files(tmp_path, (500, 500)))

    for shard in (split.train, split.test):
        assert 0.35 < shard.labels[: len(shard.labels) // 2].mean() < 0.65
        values = shard.inputs[shard.labels == 0, 0]
        assert 0.3 < (np.diff(values) > 0).mean() < 0.7


def test_what_is_held_out_is_the_same_on_every_machine(tmp_path: Path) -> None:
    split = load_tabular(*two_files(tmp_path, (20, 15)))

    assert split.test.inputs[:, 0].tolist() == PINNED_TEST
    together = split.train.inputs.astype("<f4").tobytes() + split.train.labels.tobytes()
    assert hashlib.sha256(together).hexdigest()[:16] == PINNED_TRAIN


PINNED_TEST = [2.0, 10014.0, 11.0, 3.0, 10009.0, 10002.0, 13.0]
PINNED_TRAIN = "a1b8422974733b18"


def test_a_file_of_some_editors_with_a_byte_order_mark_will_do(tmp_path: Path) -> None:
    first, second = two_files(tmp_path, (5, 5))
    Path(first).write_text(Path(second).read_text(), encoding="utf-8-sig")

    assert per_class(load_tabular(first, second).train) == [4, 4]


def test_rows_come_from_urls_too(tmp_path: Path) -> None:
    first, second = two_files(tmp_path, (10, 5))

    def answer(request: Request) -> Reply:
        if request.path == "/moved.csv":
            return Reply(302, headers={"Location": "/quiet.csv"})
        return Reply(200, gzip.compress(Path(first).read_bytes()), {"Content-Encoding": "gzip"})

    with serve(answer) as url:
        split = load_tabular(f"{url}/moved.csv", second)

    np.testing.assert_array_equal(split.train.inputs, load_tabular(first, second).train.inputs)


def test_a_url_without_the_file_says_what_it_answers_and_keeps_its_secrets(tmp_path: Path) -> None:
    first, _ = two_files(tmp_path, (5, 5))
    with serve(lambda _: Reply(404)) as url:
        sentence = refusal(first, f"{url.replace('//', '//me:password@')}/a.csv?signature=secret")

    assert sentence.startswith(f"{url}/a.csv answers 404, wanted 200")
    assert "secret" not in sentence
    assert "password" not in sentence


@pytest.mark.parametrize(
    "url",
    [
        "http://me:password@127.0.0.1:1/rows.csv?signature=secret",
        "HTTP://me:password@[::1/rows.csv?signature=secret",
        "http://me:password@/rows.csv?signature=secret",
        "http://me:password@127.0.0.1:99999/rows.csv?signature=secret",
        "ftp://me:password@127.0.0.1/rows.csv?signature=secret",
        "http://",
    ],
)
def test_a_url_that_cannot_be_reached_is_one_clear_sentence_without_secrets(tmp_path: Path, url: str) -> None:
    first, _ = two_files(tmp_path, (5, 5))

    sentence = refusal(first, url)

    assert "cannot be fetched (" in sentence
    assert not any(part in sentence for part in ("HTTPConnectionPool", "password", "secret"))


def test_a_connection_that_breaks_is_one_clear_sentence(tmp_path: Path) -> None:
    first, _ = two_files(tmp_path, (5, 5))
    with serve(lambda _: Reply(0)) as url:
        assert f"{url}/a.csv cannot be fetched (" in refusal(first, f"{url}/a.csv")


def test_an_answer_without_end_is_not_taken(tmp_path: Path) -> None:
    first, _ = two_files(tmp_path, (5, 5))
    packed = gzip.compress(b"1" * (4 << 20))
    with (
        serve(lambda _: Reply(200, packed, {"Content-Encoding": "gzip"})) as url,
        pytest.raises(StartupError, match="is longer than 1000000 bytes; fetch it yourself"),
    ):
        load_tabular(first, f"{url}/a.csv", url_bytes=1_000_000)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "loud.csv has no rows, wanted at least 2"),
        ((",".join(HEADER) + "\n").encode(), "loud.csv has no rows"),
        (csv_text(numbered_rows(1, 1)).encode(), "loud.csv has 1 row, wanted at least 2"),
        (b"1,2,3\n", "loud.csv, line 1: 3 columns, wanted 17"),
        (b"1,2,3\n4\xff,5\n", "loud.csv, line 2: this is not UTF-8 text"),
        (gzip.compress(b"1,2,3\n", mtime=0), "loud.csv is packed with gzip; unpack it"),
        (b"1," * 16 + b"one\n", "loud.csv, line 1, column 17: 'one' is no finite number"),
        (csv_text(numbered_rows(1, 2), HEADER[::-1]).encode(), "column 1 is 'feature0' in "),
    ],
)
def test_a_file_without_such_rows_says_what_is_wrong_with_it(tmp_path: Path, content: bytes, says: str) -> None:
    first, second = two_files(tmp_path, (5, 5))
    Path(second).write_bytes(content)

    assert says in refusal(first, second)


def test_a_missing_file_is_one_clear_sentence(tmp_path: Path) -> None:
    first, _ = two_files(tmp_path, (5, 5))

    assert f"the file {tmp_path / 'none.csv'} does not exist" in refusal(first, str(tmp_path / "none.csv"))


@pytest.mark.parametrize("name", [".", "\0"])
def test_what_cannot_be_read_is_one_clear_sentence(tmp_path: Path, name: str) -> None:
    first, _ = two_files(tmp_path, (5, 5))

    assert "cannot be read (" in refusal(first, str(tmp_path / name))
