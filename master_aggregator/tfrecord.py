"""The framing of TFRecord files: length, its checksum, bytes, their checksum. Pure, over a file that was opened.

See the format's description at https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from master_aggregator.crc32c import masked_crc32c

_LENGTH: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")
_HEAD: Final = _LENGTH.size + _CHECKSUM.size
_LONGEST: Final = 1 << 26


class Torn(Exception):
    """The file ends inside a record, as when its writer was killed."""


class Damaged(Exception):
    """A record is not what its checksums say."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A record and where it ends in the file, framing included."""

    data: bytes
    end: int


def frame(data: bytes) -> bytes:
    """Return a record with its framing."""
    length = _LENGTH.pack(len(data))
    return b"".join(
        (length, _CHECKSUM.pack(masked_crc32c(length)), data, _CHECKSUM.pack(masked_crc32c(data))),
    )


def read_frames(file: BinaryIO) -> Iterator[Framed]:
    """Yield the records from the start of a file.

    Raises
    ------
    Torn, Damaged
        After all records before that place.
    """
    end = 0
    while head := file.read(_HEAD):
        if len(head) < _HEAD:
            raise Torn
        length, checksum = head[: _LENGTH.size], head[_LENGTH.size :]
        (size,) = _LENGTH.unpack(length)
        if checksum != _CHECKSUM.pack(masked_crc32c(length)) or size > _LONGEST:
            raise Damaged(f"no record starts at byte {end}")
        body = file.read(size + _CHECKSUM.size)
        if len(body) < size + _CHECKSUM.size:
            raise Torn
        data = body[:size]
        if body[size:] != _CHECKSUM.pack(masked_crc32c(data)):
            raise Damaged(f"the record at byte {end} is not what its checksum says")
        end += _HEAD + size + _CHECKSUM.size
        yield Framed(data, end)
