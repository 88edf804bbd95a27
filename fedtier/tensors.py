"""safetensors files: read a window at a time, written in a given order.

Files are read, not mapped: a mapped page counts as the reader's memory as long as it is
mapped, and a file that loses its end kills who looks at it. Only `TensorFile.private_arrays`
maps one, for who owns the file and wants all of it. The `safetensors` package
reads whole tensors, and has no BF16 for NumPy. Whether a file is one is decided by its
header (`fedtier.header`).
"""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedtier.dtypes import STORAGE, Array, TensorSpec, Values, as_stored, spec_of
from fedtier.hashed import Writable
from fedtier.header import DEFAULT_HEADER_LIMIT, Header, encode_header, read_header


class TensorFile:
    """An open safetensors file whose header was checked; one thread reads it at a time.

    It is closed when nobody holds it or values of it any more. BF16 tensors come as
    ``uint16`` bit patterns (see `widen`).

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> with path.open("wb") as file:
    ...     write_arrays(file, {"bias": np.zeros(3, np.float32)})
    >>> TensorFile(path).array("bias").shape
    (3,)
    """

    def __init__(
        self,
        path: Path,
        *,
        header_limit: int = DEFAULT_HEADER_LIMIT,
        header: Header | None = None,
        window: Array | None = None,
    ) -> None:
        """Open and check `path`.

        Parameters
        ----------
        path : Path
        header_limit : int
            Longest header accepted, in bytes.
        header : Header, optional
            The file's, from an earlier check; then it is not read again.
        window : ndarray of uint8, shape (n,), optional
            Memory for windows of at most n bytes, which several files may share that are read in turns.

        Raises
        ------
        NotSafetensors
            Says what is wrong and at which byte.
        OSError
            The file cannot be read.
        """
        self._path = path
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._window = np.empty(0, np.uint8) if window is None else window
        self.header = header or read_header(self._file, header_limit=header_limit)
        self._offsets = self.header.offsets
        self._specs = {spec.name: spec for spec in self.header.specs}

    def array(self, name: str) -> Array:
        """Return one whole tensor, shaped, in memory of its own; `KeyError` when there is none of that name.

        Raises
        ------
        OSError
            The file cannot be read, or has lost its end.
        """
        spec = self._specs[name]
        array = np.empty(spec.shape, STORAGE[spec.dtype])
        self._read(array.reshape(-1).view(np.uint8), self._offsets[name])
        return array

    def private_arrays(self) -> dict[str, Array]:
        """Return all tensors by name, shaped and writable; what is written to them stays out of the file.

        They are pages of the file, each copied when it is written to first; memory of their own where files cannot
        be mapped, or not be deleted while they are. As long as they are held the file may be deleted or replaced,
        but nobody may write to it or cut it off.

        Raises
        ------
        OSError
            The file cannot be read, or has lost its end.
        """
        content = self._mapped()
        if content is None:
            return {name: self.array(name) for name in self._specs}
        arrays = {}
        for name, spec in self._specs.items():
            start = self._offsets[name]
            array = content[start : start + spec.nbytes].view(STORAGE[spec.dtype]).reshape(spec.shape)
            arrays[name] = array if array.flags.aligned else array.copy()
        return arrays

    def values(self, name: str) -> Values:
        """Return one tensor, to be read a window at a time; `KeyError` when there is none of that name.

        A window is valid until the next is read of any tensor of the file. Reading raises
        `OSError` when the file has lost its end.
        """
        return _FileValues(self, self._specs[name])

    def window(self, spec: TensorSpec, start: int, stop: int) -> Array:
        """Return values ``[start, stop)`` of a tensor; valid until the next window.

        Raises
        ------
        OSError
            The file cannot be read, or has lost its end.
        """
        storage = STORAGE[spec.dtype]
        size = (stop - start) * storage.itemsize
        if self._window.size < size:
            self._window = np.empty(size, np.uint8)
        read = self._window[:size]
        self._read(read, self._offsets[spec.name] + start * storage.itemsize)
        return read.view(storage)

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def spec(self, name: str) -> TensorSpec:
        """Return dtype and shape of one tensor; `KeyError` when there is none of that name."""
        return self._specs[name]

    def _mapped(self) -> Array | None:
        """Return the file's bytes up to the end of its tensors, mapped for writing to a copy, or None."""
        if os.name == "nt":  # deletes no file that is mapped
            return None
        end = max((self._offsets[name] + spec.nbytes for name, spec in self._specs.items()), default=0)
        try:
            return np.frombuffer(mmap.mmap(self._file.fileno(), end, access=mmap.ACCESS_COPY), np.uint8)
        except ValueError:
            raise self._cut_off() from None
        except OSError:  # not every file system can, and address space may be limited
            return None

    def _cut_off(self) -> OSError:
        return OSError(errno.EIO, "the file has lost its end", os.fspath(self._path))

    def _read(self, target: Array, offset: int) -> None:
        """Fill `target`, bytes in one dimension, from `offset` on."""
        self._file.seek(offset)
        while target.size:
            count = self._file.readinto(target.data)
            if not count:
                raise self._cut_off()
            target = target[count:]


@dataclass(frozen=True, slots=True)
class _FileValues:
    """A tensor that stays in its file."""

    file: TensorFile
    spec: TensorSpec

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return STORAGE[self.spec.dtype]

    @property
    def size(self) -> int:
        return self.spec.elements

    def ravel(self) -> Values:
        return self

    def __getitem__(self, window: slice, /) -> Array:
        start, stop, _ = window.indices(self.size)
        return self.file.window(self.spec, start, stop)


def write_arrays(
    file: Writable,
    arrays: Mapping[str, Array],
    *,
    specs: Iterable[TensorSpec] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write whole arrays as a safetensors file.

    Parameters
    ----------
    file : Writable
    arrays : Mapping of str to ndarray
    specs : iterable of TensorSpec, optional
        Order, dtypes and shapes; by default those of the arrays, in their order. A
        floating-point array under a BF16 spec is rounded to it, half to even.
    metadata : Mapping of str to str, optional

    Raises
    ------
    ValueError
        An array has a dtype without a safetensors name, or is not of its spec's dtype and shape.
    """
    chosen = tuple(specs) if specs is not None else tuple(spec_of(n, a) for n, a in arrays.items())
    file.write(encode_header(chosen, metadata or {}))
    for spec in chosen:
        stored = as_stored(arrays[spec.name], spec)
        if stored.size:
            file.write(np.ascontiguousarray(stored).reshape(-1).view(np.uint8).data)
