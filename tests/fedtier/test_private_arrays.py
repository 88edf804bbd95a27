"""A task's arrays are pages of the model's file: theirs to write to, and whole whatever becomes of the file."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fedtier.dtypes import Array
from fedtier.tensors import TensorFile, write_arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as file:
        write_arrays(file, arrays)


def test_private_arrays_keep_their_values_and_stay_out_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, {"bias": np.array([1, 2], np.float32), "scale": np.array(3, np.int64), "none": np.zeros((0, 4))})
    content = path.read_bytes()
    arrays = TensorFile(path).private_arrays()
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
        "bias": ("<f4", (2,)),
        "scale": ("<i8", ()),
        "none": ("<f8", (0, 4)),
    }
    arrays["bias"] += 1
    assert path.read_bytes() == content
    assert TensorFile(path).private_arrays()["bias"].tolist() == [1, 2]

    write(tmp_path / "next", {"bias": np.array([7, 7], np.float32)})
    (tmp_path / "next").replace(path)
    assert (arrays["bias"].tolist(), arrays["scale"].item()) == ([2, 3], 3)
    path.unlink()
    assert (arrays["bias"].tolist(), arrays["scale"].item()) == ([2, 3], 3)


@pytest.mark.skipif(os.name == "nt", reason="a file that is mapped there cannot be deleted")
def test_private_arrays_take_no_memory_until_they_are_written_to(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    values = np.arange(1 << 20, dtype=np.float32)
    write(path, {"w": values})
    file = TensorFile(path)
    tracemalloc.start()
    arrays = file.private_arrays()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes // 16
    np.testing.assert_array_equal(arrays["w"], values)


def test_where_files_cannot_be_mapped_private_arrays_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr("fedtier.tensors.mmap.mmap", refuse)
    path = tmp_path / "model.safetensors"
    write(path, {"a": np.array([1.5, 2.5])})
    (array,) = TensorFile(path).private_arrays().values()
    array += 1
    assert array.tolist() == [2.5, 3.5]
    assert TensorFile(path).array("a").tolist() == [1.5, 2.5]
