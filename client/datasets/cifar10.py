"""CIFAR-10: 50,000 small colour photographs to train on and 10,000 to test with, from a directory.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The binary version is six
files of records: one byte, the label, then 3072 bytes, the red, green and blue planes of 32 rows each
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from client.datasets.shards import Shard, Split
from client.datasets.sources import require_folder
from fedtier.problems import StartupError

_TRAIN: Final = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST: Final = "test_batch.bin"
_FOLDER: Final = "cifar-10-batches-bin"
_IMAGE: Final = (3, 32, 32)
_RECORD_BYTES: Final = 1 + 3 * 32 * 32
_CLASSES: Final = 10
_WHERE: Final = "the binary version from the CIFAR-10 page, www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(data_dir: Path | None) -> Split:
    """Load CIFAR-10.

    Parameters
    ----------
    data_dir : Path or None
        Directory with the six files, or with the folder ``cifar-10-batches-bin`` that the archive unpacks to.

    Returns
    -------
    Split
        Inputs are U8 [n, 3, 32, 32].

    Raises
    ------
    StartupError
        No directory is named, or a file is missing or not of such records.
    """
    if data_dir is None:
        raise StartupError(f"CIFAR-10 is not fetched by itself; unpack {_WHERE}, and name its folder with --data-dir")
    require_folder(data_dir, f"{_WHERE},")
    folder = data_dir / _FOLDER if (data_dir / _FOLDER).is_dir() else data_dir
    batches = [_read_batch(folder / name) for name in _TRAIN]
    train = Shard(
        np.concatenate([batch.inputs for batch in batches]), np.concatenate([batch.labels for batch in batches])
    )
    return Split(train, _read_batch(folder / _TEST))


def _read_batch(path: Path) -> Shard:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StartupError(f"there is no {path.name} in {path.parent}; unpack {_WHERE}, there") from None
    except OSError as error:
        raise StartupError(f"{path} cannot be read ({error.strerror}); unpack {_WHERE}, anew") from None
    if not data or len(data) % _RECORD_BYTES:
        raise StartupError(
            f"{path} has {len(data)} bytes, wanted one or more whole records of {_RECORD_BYTES}; take {_WHERE}"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD_BYTES)
    labels = records[:, 0].copy()
    if (largest := int(labels.max())) >= _CLASSES:
        record = int(labels.argmax())
        raise StartupError(
            f"{path} has the label {largest} in record {record}, wanted 0 to {_CLASSES - 1}; take {_WHERE}"
        )
    return Shard(records[:, 1:].reshape(-1, *_IMAGE), labels)
