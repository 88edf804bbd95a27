"""The header of a safetensors file, checked byte by byte, and written the same everywhere.

The format: 8 bytes, the length of the header, little-endian; the header, a JSON
object; then the data of all tensors, without gaps
(https://github.com/huggingface/safetensors, section "Format").
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from fedtier.dtypes import STORAGE, TensorSpec
from fedtier.problems import NotSafetensors

DEFAULT_HEADER_LIMIT: Final = 16 << 20
_LENGTH_BYTES: Final = 8
_MAX_SHOWN: Final = 80
_MAX_DIMENSIONS: Final = 64
_MAX_INTEGER: Final = (1 << 63) - 1
_MAX_DIGITS: Final = 19
_METADATA_KEY: Final = "__metadata__"
_TENSOR_KEYS: Final = frozenset({"dtype", "shape", "data_offsets"})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header.

    Parameters
    ----------
    specs : tuple of TensorSpec
        In the order of the data.
    metadata : Mapping of str to str
    start : int
        Of the data, in bytes from the start of the file.
    """

    specs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    start: int

    @property
    def offsets(self) -> dict[str, int]:
        """Where each tensor's data starts, in bytes from the start of the file; made anew each time."""
        starts = itertools.accumulate((spec.nbytes for spec in self.specs), initial=self.start)
        return {spec.name: start for spec, start in zip(self.specs, starts, strict=False)}


def header_length(path: Path) -> int:
    """Return how long a file says that its header is, in bytes; no more than the file is."""
    with path.open("rb") as file:
        said = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return min(said, file.seek(0, os.SEEK_END))


def read_header(file: BinaryIO, *, header_limit: int = DEFAULT_HEADER_LIMIT) -> Header:
    """Check the header of a seekable safetensors file against the file's size.

    Parameters
    ----------
    file : BinaryIO
        Positioned anywhere.
    header_limit : int
        Longest header accepted, in bytes.

    Raises
    ------
    NotSafetensors
        Unless the header is well-formed, without duplicate names, and its tensors
        cover the rest of the file without gap or overlap.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length_field = file.read(_LENGTH_BYTES)
    if len(length_field) < _LENGTH_BYTES:
        raise _wrong(size, f"the file ends inside the 8-byte header length ({size} bytes in all)")
    length = int.from_bytes(length_field, "little")
    if length > header_limit:
        raise _wrong(0, f"the header length is {length}, more than the {header_limit} allowed")
    if _LENGTH_BYTES + length > size:
        raise _wrong(0, f"the header length is {length}, but only {size - _LENGTH_BYTES} bytes follow it")
    return parse_header(file.read(length), data_bytes=size - _LENGTH_BYTES - length)


def parse_header(header: bytes, *, data_bytes: int) -> Header:
    """Check a header's JSON against the number of data bytes behind it.

    Raises
    ------
    NotSafetensors
        As `read_header`.
    """
    document = _load_object(header)
    metadata = _checked_metadata(document.pop(_METADATA_KEY, {}))
    entries = sorted((_checked_entry(name, entry) for name, entry in document.items()), key=lambda e: e[1:])
    position = 0
    start_of_data = _LENGTH_BYTES + len(header)
    for spec, begin, end in entries:
        byte = start_of_data + min(position, data_bytes)
        if begin != position:
            raise _wrong(
                byte,
                f"tensor {_shown(spec.name)} starts at data byte {begin}, but the tensor before it ends at {position}",
            )
        if end - begin != spec.nbytes:
            raise _wrong(
                byte,
                f"tensor {_shown(spec.name)} has {end - begin} bytes, "
                f"but {spec.dtype} {list(spec.shape)} needs {spec.nbytes}",
            )
        position = end
    if position != data_bytes:
        raise _wrong(
            start_of_data + min(position, data_bytes),
            f"the tensors take {position} bytes of data, but {data_bytes} are there",
        )
    return Header(
        specs=tuple(spec for spec, _, _ in entries),
        metadata=metadata,
        start=start_of_data,
    )


def encode_header(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """Return length field and header of a file that holds `specs` in this order.

    The same input gives the same bytes on every machine: metadata keys are sorted,
    and spaces pad the header to a multiple of 8 bytes.
    """
    document: dict[str, Any] = {_METADATA_KEY: dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for spec in specs:
        end = position + spec.nbytes
        document[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _wrong(byte: int, what: str) -> NotSafetensors:
    return NotSafetensors(f"not a safetensors file: at byte {byte}, {what}", byte=byte)


def _load_object(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise _wrong(_LENGTH_BYTES, "the header does not start with '{'")
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(_LENGTH_BYTES + error.start, "the header is not UTF-8") from None
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_int=_size,
            parse_float=_no_size,
            parse_constant=_no_size,
        )
    except _RefusedError as error:
        raise _wrong(_LENGTH_BYTES, f"the header has {error}") from None
    except json.JSONDecodeError as error:
        byte = _LENGTH_BYTES + len(text[: error.pos].encode())
        raise _wrong(byte, f"the header is not JSON: {error.msg}") from None
    except RecursionError:
        raise _wrong(_LENGTH_BYTES, "the header is nested deeper than any safetensors header") from None
    if not isinstance(document, dict):
        raise _wrong(_LENGTH_BYTES, "the header is not a JSON object")
    return document


class _RefusedError(Exception):
    """JSON that safetensors does not allow; says what."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RefusedError(f"the key {_shown(key)} twice")
        found[key] = value
    return found


def _size(text: str) -> int:
    # "-0" is refused with the negative numbers: other readers take it for a float.
    if text.startswith("-") or len(text) > _MAX_DIGITS or (size := int(text)) > _MAX_INTEGER:
        return _no_size(text)
    return size


def _no_size(text: str) -> NoReturn:
    raise _RefusedError(f"the number {_shown(text)}; sizes and offsets are whole numbers from 0 to {_MAX_INTEGER}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def _checked_metadata(metadata: Any) -> Mapping[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _wrong(_LENGTH_BYTES, "__metadata__ is not an object of strings")
    if any(_SURROGATE.search(text) for item in metadata.items() for text in item):
        raise _wrong(_LENGTH_BYTES, "__metadata__ holds half of a surrogate pair, which is not Unicode text")
    return metadata


def _checked_entry(name: str, entry: Any) -> tuple[TensorSpec, int, int]:
    shown = _shown(name)
    if _SURROGATE.search(name):
        raise _wrong(_LENGTH_BYTES, f"the tensor name {shown} is not Unicode text")
    if not isinstance(entry, dict) or set(entry) != _TENSOR_KEYS:
        raise _wrong(_LENGTH_BYTES, f"tensor {shown} is not an object of dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORAGE:
        got = _shown(dtype) if isinstance(dtype, str) else "no string"
        raise _wrong(_LENGTH_BYTES, f"tensor {shown} has as dtype {got}, not one of {', '.join(STORAGE)}")
    if not _is_sizes(shape, _MAX_DIMENSIONS):
        raise _wrong(_LENGTH_BYTES, f"tensor {shown} has a shape that is no list of at most {_MAX_DIMENSIONS} sizes")
    if not _is_sizes(offsets, 2) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _wrong(_LENGTH_BYTES, f"tensor {shown} has data_offsets that are no [begin, end]")
    # An empty tensor's other sizes count too: NumPy and other readers overflow on them.
    if math.prod(size or 1 for size in shape) * STORAGE[dtype].itemsize > _MAX_INTEGER:
        raise _wrong(_LENGTH_BYTES, f"tensor {shown} has the shape {shape}, larger than any memory")
    return TensorSpec(name, dtype, tuple(shape)), offsets[0], offsets[1]


def _is_sizes(value: Any, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(type(item) is int for item in value)
