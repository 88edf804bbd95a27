"""Rows of 17 numbers in two classes, from two CSV files or URLs, one per class.

Which rows are held out for testing is the same in every run, whatever its seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import requests

from client.datasets.schemes import shuffled
from client.datasets.shards import Shard, Split
from client.datasets.sources import TIMEOUTS
from client.datasets.tables import Table, parse_table, require_same_columns
from fedtier.problems import StartupError
from fedtier.urls import innermost_cause, is_url, shown_url

COLUMNS: Final = 17

_URL_BYTES: Final = 256 << 20
_BLOCK: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_HELD_OUT: Final = 5
"""One row of so many is for testing."""
_MERGE_SEED: Final = 2
"""The classes are shuffled by seeds 0 and 1."""


def load_tabular(first: str, second: str, *, url_bytes: int = _URL_BYTES) -> Split:
    """Load the rows of two classes; a fifth of each, at least one, is to test with.

    Parameters
    ----------
    first, second : str
        Path, or http or https URL, of the rows of class 0 and of class 1.
    url_bytes : int
        Longest answer taken from a URL.

    Returns
    -------
    Split
        Inputs are F32 [n, 17]; the classes are mixed.

    Raises
    ------
    StartupError
        A file cannot be had or is not of such rows; names file, line and column.
    """
    tables = _read(first, url_bytes), _read(second, url_bytes)
    require_same_columns(*tables)
    held_out, kept = [], []
    for label, table in enumerate(tables):
        if (count := len(table.rows)) < 2:
            raise StartupError(
                f"{table.name} has {count or 'no'} row{'s' * (count != 1)}, wanted at least 2: "
                "one to train on, one to test with"
            )
        order = shuffled(count, label)
        tested = max(1, count // _HELD_OUT)
        held_out.append(_labelled(table.rows[order[:tested]], label))
        kept.append(_labelled(table.rows[order[tested:]], label))
    return Split(train=_merged(kept), test=_merged(held_out))


def _labelled(rows: npt.NDArray[np.float32], label: int) -> Shard:
    return Shard(rows, np.full(len(rows), label, np.uint8))


def _merged(classes: list[Shard]) -> Shard:
    inputs = np.concatenate([part.inputs for part in classes])
    labels = np.concatenate([part.labels for part in classes])
    return Shard(inputs, labels).part(shuffled(len(labels), _MERGE_SEED))


def _read(place: str, url_bytes: int) -> Table:
    name = shown_url(place) if is_url(place) else place
    data = _fetched(place, name, url_bytes) if is_url(place) else _file_bytes(Path(place))
    if data.startswith(_GZIP):
        raise StartupError(f"{name} is packed with gzip; unpack it, and name the CSV file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StartupError(f"{name}, line {line}: this is not UTF-8 text; name a CSV file of numbers") from None
    return parse_table(text, name, COLUMNS)


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StartupError(f"the file {path} does not exist; name a CSV file or its URL") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"the file {path} cannot be read ({reason}); name another CSV file") from None


def _fetched(url: str, name: str, limit: int) -> bytearray:
    data = bytearray()
    try:
        with requests.get(url, stream=True, timeout=TIMEOUTS) as response:
            if response.status_code != 200:
                raise StartupError(f"{name} answers {response.status_code}, wanted 200 and a CSV file; check the URL")
            for block in response.iter_content(_BLOCK):
                data += block
                if len(data) > limit:
                    raise StartupError(
                        f"{name} is longer than {limit} bytes; fetch it yourself, and name the file instead"
                    )
    except requests.RequestException as error:
        raise StartupError(f"{name} cannot be fetched ({innermost_cause(error)}); check the URL") from None
    return data
