"""The IDX format of the MNIST files: magic, sizes, then bytes (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from fedtier.problems import StartupError

_UNSIGNED_BYTES: Final = 0x08


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the array of a file of unsigned bytes.

    Raises
    ------
    StartupError
        It is not such a file, or not as long as it says.
    OSError
    """
    data = path.read_bytes()
    dimensions = data[3] if len(data) >= 4 else 0
    sizes = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4") if len(data) >= 4 + 4 * dimensions else np.empty(0)
    values = memoryview(data)[4 + 4 * dimensions :]  # no second copy of the images
    shape = tuple(int(size) for size in sizes)
    if data[:3] != bytes([0, 0, _UNSIGNED_BYTES]) or len(shape) != dimensions or math.prod(shape) != len(values):
        raise StartupError(f"{path} is not an IDX file of unsigned bytes, or not as long as its header says")
    return np.frombuffer(values, np.uint8).reshape(shape)
