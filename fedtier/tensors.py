"""safetensors files: read as views of the mapped file, written in a given order.

Nothing is copied in reading; the `safetensors` package copies each tensor, and has no
BF16 for NumPy. Whether a file is one is decided by its header (`fedtier.header`).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fedtier.dtypes import STORAGE, Array, TensorSpec, as_stored, spec_of
from fedtier.header import DEFAULT_HEADER_LIMIT, encode_header, read_header


class TensorFile:
    """A memory-mapped safetensors file whose header was checked.

    Arrays are read-only views and keep the mapping alive; BF16 tensors come as
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

    def __init__(self, path: Path, *, header_limit: int = DEFAULT_HEADER_LIMIT) -> None:
        """Map and check `path`.

        Raises
        ------
        NotSafetensors
            Says what is wrong and at which byte.
        OSError
            The file cannot be read.
        """
        with path.open("rb") as file:
            self.header = read_header(file, header_limit=header_limit)
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._specs = {spec.name: spec for spec in self.header.specs}

    def array(self, name: str) -> Array:
        """Return a view of one tensor, shaped; `KeyError` when there is none of that name."""
        spec = self._specs[name]
        flat = np.frombuffer(self._mapped, STORAGE[spec.dtype], count=spec.elements, offset=self.header.offsets[name])
        return flat.reshape(spec.shape)

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def spec(self, name: str) -> TensorSpec:
        """Return dtype and shape of one tensor; `KeyError` when there is none of that name."""
        return self._specs[name]


def write_arrays(
    file: BinaryIO,
    arrays: Mapping[str, Array],
    *,
    specs: Iterable[TensorSpec] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write whole arrays as a safetensors file.

    Parameters
    ----------
    file : BinaryIO
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
