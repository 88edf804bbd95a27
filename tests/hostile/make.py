"""Makes the hostile files: each breaks one rule of the format and would be valid without it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUFFIX = ".safetensors"
HUGE = 1 << 62


@dataclass(frozen=True)
class Hostile:
    """A file and a part of the sentence that refuses it."""

    data: bytes
    refusal: str


def framed(header: str | bytes, data: bytes = b"") -> bytes:
    """Return a file of this header, whatever it says."""
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    """Return the description of a tensor; by default a good one of two floats."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def described(entries: dict[str, Any], data: bytes = bytes(8)) -> bytes:
    """Return a file of these entries."""
    return framed(json.dumps(entries, separators=(",", ":")), data)


def one(shape: str = "[2]", offsets: str = "[0,8]", dtype: str = '"F32"', data: bytes = bytes(8)) -> bytes:
    """Return a file of one tensor, described in JSON that `json.dumps` would not write."""
    return framed(f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}', data)


GOOD = described({"__metadata__": {"num_examples": "600"}, "a": entry()})
"""What the others are before they are broken."""


def hostile_files() -> dict[str, Hostile]:
    """Return all hostile files by name."""
    return {**_truncated(), **_lengths(), **_texts(), **_documents(), **_numbers(), **_layouts()}


def _truncated() -> dict[str, Hostile]:
    header_end = 8 + struct.unpack("<Q", GOOD[:8])[0]
    inside = "the file ends inside the 8-byte header length"
    beyond = "bytes follow it"
    return {
        "empty": Hostile(b"", inside),
        "truncated-in-length": Hostile(GOOD[:7], inside),
        "truncated-after-length": Hostile(GOOD[:8], beyond),
        "truncated-after-brace": Hostile(GOOD[:9], beyond),
        "truncated-in-header": Hostile(GOOD[: header_end - 10], beyond),
        "truncated-before-last-brace": Hostile(GOOD[: header_end - 1], beyond),
        "truncated-before-data": Hostile(GOOD[:header_end], "take 8 bytes of data, but 0 are there"),
        "truncated-in-data": Hostile(GOOD[:-1], "take 8 bytes of data, but 7 are there"),
    }


def _lengths() -> dict[str, Hostile]:
    return {
        "length-zero": Hostile(bytes(8), "does not start with '{'"),
        "length-all-ones": Hostile(b"\xff" * 8 + GOOD[8:], "allowed"),
        "length-top-bit": Hostile(struct.pack("<Q", 1 << 63) + GOOD[8:], "allowed"),
        "length-100-megabytes": Hostile(struct.pack("<Q", 100_000_000) + GOOD[8:], "allowed"),
        "length-one-beyond-the-file": Hostile(struct.pack("<Q", len(GOOD) - 7) + GOOD[8:], "bytes follow it"),
        "length-big-endian": Hostile(GOOD[:8][::-1] + GOOD[8:], "allowed"),
        "length-one-short": Hostile(struct.pack("<Q", struct.unpack("<Q", GOOD[:8])[0] - 1) + GOOD[8:], "not JSON"),
    }


def _texts() -> dict[str, Hostile]:
    deep = "at byte "  # what is wrong first depends on how deep this Python's parser goes
    return {
        "byte-order-mark": Hostile(framed(b"\xef\xbb\xbf{}"), "does not start with '{'"),
        "leading-space": Hostile(framed(" {}"), "does not start with '{'"),
        "utf-16": Hostile(framed("{}".encode("utf-16-le")), "not JSON"),
        "not-utf-8": Hostile(framed(b'{"__metadata__":{"a":"\xff"}}'), "not UTF-8"),
        "surrogate-in-utf-8": Hostile(framed(b'{"__metadata__":{"a":"\xed\xa0\x80"}}'), "not UTF-8"),
        "overlong-utf-8": Hostile(framed(b'{"__metadata__":{"a":"\xc0\x80"}}'), "not UTF-8"),
        "not-json": Hostile(framed("{tensors}"), "not JSON"),
        "two-documents": Hostile(framed("{}{}"), "not JSON"),
        "padded-with-zeros": Hostile(framed(b"{}" + bytes(6)), "not JSON"),
        "comma-at-the-end": Hostile(framed('{"__metadata__":{},}'), "not JSON"),
        "control-character-in-name": Hostile(described({"a": entry()}).replace(b'"a"', b'"\n"'), "not JSON"),
        "pickle": Hostile(
            b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94.", "allowed"
        ),
        "nested-lists": Hostile(framed('{"a":' + "[" * 5000 + "]" * 5000 + "}"), deep),
        "nested-objects": Hostile(framed('{"a":' * 5000 + "1" + "}" * 5000), deep),
        "nested-without-end": Hostile(framed('{"a":' + "[" * 5000), deep),
        "nested-900-deep-in-dtype": Hostile(one(dtype="[" * 900 + "]" * 900), "has as dtype no string"),
    }


def _documents() -> dict[str, Hostile]:
    good = json.dumps(entry())
    members = {key: value for key, value in entry().items() if key != "shape"}
    return {
        "list": Hostile(framed("[]"), "does not start with '{'"),
        "duplicate-tensor": Hostile(framed(f'{{"a":{good},"a":{good}}}', bytes(8)), "the key 'a' twice"),
        "duplicate-tensor-escaped": Hostile(framed(f'{{"a":{good},"\\u0061":{good}}}', bytes(8)), "the key 'a' twice"),
        "duplicate-member": Hostile(
            framed('{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}', bytes(8)),
            "the key 'shape' twice",
        ),
        "duplicate-metadata": Hostile(framed('{"__metadata__":{},"__metadata__":{}}'), "the key '__metadata__' twice"),
        "duplicate-metadata-key": Hostile(framed('{"__metadata__":{"a":"1","a":"2"}}'), "the key 'a' twice"),
        "metadata-number": Hostile(
            described({"__metadata__": {"num_examples": 600}, "a": entry()}), "object of strings"
        ),
        "metadata-null": Hostile(described({"__metadata__": None, "a": entry()}), "object of strings"),
        "metadata-list": Hostile(described({"__metadata__": ["a"], "a": entry()}), "object of strings"),
        "metadata-nested": Hostile(described({"__metadata__": {"a": {}}, "a": entry()}), "object of strings"),
        "metadata-surrogate": Hostile(framed('{"__metadata__":{"a":"\\ud800"}}'), "surrogate"),
        "metadata-key-surrogate": Hostile(framed('{"__metadata__":{"\\udfff":"a"}}'), "surrogate"),
        "name-surrogate": Hostile(framed(f'{{"\\ud800":{good}}}', bytes(8)), "not Unicode text"),
        "tensor-null": Hostile(described({"a": None}), "not an object of dtype"),
        "tensor-list": Hostile(described({"a": ["F32", [2], [0, 8]]}), "not an object of dtype"),
        "member-missing": Hostile(described({"a": members}), "not an object of dtype"),
        "member-extra": Hostile(described({"a": {**entry(), "strides": [1]}}), "not an object of dtype"),
        "dtype-unknown": Hostile(described({"a": entry("F128")}), "has as dtype 'F128'"),
        "dtype-lower-case": Hostile(described({"a": entry("f32")}), "has as dtype 'f32'"),
        "dtype-null": Hostile(described({"a": entry(None)}), "has as dtype no string"),
        "dtype-long": Hostile(described({"a": entry("F" * 10_000)}), "FFF..."),
        "name-long": Hostile(described({"a" * 10_000: None}), "aaa..."),
        "shape-null": Hostile(described({"a": entry(shape=None)}), "no list of at most"),
        "shape-object": Hostile(described({"a": entry(shape={"0": 2})}), "no list of at most"),
        "shape-string": Hostile(described({"a": entry(shape="2")}), "no list of at most"),
        "shape-of-strings": Hostile(described({"a": entry(shape=["2"])}), "no list of at most"),
        "shape-of-lists": Hostile(described({"a": entry(shape=[[2]])}), "no list of at most"),
        "shape-boolean": Hostile(described({"a": entry(shape=[True], offsets=[0, 4])}, bytes(4)), "no list of at most"),
        "shape-of-65-sizes": Hostile(described({"a": entry(shape=[1] * 64 + [2])}), "no list of at most"),
        "offsets-null": Hostile(described({"a": entry(offsets=None)}), "no [begin, end]"),
        "offsets-one": Hostile(described({"a": entry(offsets=[8])}), "no [begin, end]"),
        "offsets-three": Hostile(described({"a": entry(offsets=[0, 4, 8])}), "no [begin, end]"),
        "offsets-boolean": Hostile(described({"a": entry(offsets=[False, 8])}), "no [begin, end]"),
        "offsets-reversed": Hostile(described({"a": entry(offsets=[8, 0])}), "no [begin, end]"),
    }


def _numbers() -> dict[str, Hostile]:
    digits = "1" + "0" * 5000
    return {
        "shape-negative": Hostile(one(shape="[-2]"), "the number '-2'"),
        "shape-two-negatives": Hostile(one(shape="[-1,-2]"), "the number '-1'"),
        "shape-negative-zero": Hostile(one(shape="[-0]", offsets="[0,0]", data=b""), "the number '-0'"),
        "shape-float": Hostile(one(shape="[2.0]"), "the number '2.0'"),
        "shape-exponent": Hostile(one(shape="[2e0]"), "the number '2e0'"),
        "shape-nan": Hostile(one(shape="[NaN]"), "the number 'NaN'"),
        "shape-infinity": Hostile(one(shape="[Infinity]"), "the number 'Infinity'"),
        "shape-two-to-the-63": Hostile(one(shape=f"[{1 << 63}]"), "the number '9223372036854775808'"),
        "shape-two-to-the-64": Hostile(one(shape=f"[{1 << 64}]"), "the number '18446744073709551616'"),
        "shape-5000-digits": Hostile(one(shape=f"[{digits}]"), "0..."),
        "shape-leading-zero": Hostile(one(shape="[02]"), "not JSON"),
        "offsets-float": Hostile(one(offsets="[0.0,8.0]"), "the number '0.0'"),
        "offsets-negative": Hostile(one(offsets="[-8,0]"), "the number '-8'"),
        "offsets-minus-infinity": Hostile(one(offsets="[-Infinity,8]"), "the number '-Infinity'"),
        "offsets-5000-digits": Hostile(one(offsets=f"[0,{digits}]"), "0..."),
        "shape-product-wraps-to-8-bytes": Hostile(one(shape=f"[{HUGE + 2},1]"), "larger than any memory"),
        "shape-product-wraps-to-zero": Hostile(one(f"[{HUGE},4]", "[0,0]", '"U8"', b""), "larger than any memory"),
        "shape-empty-but-huge": Hostile(one(f"[{HUGE},{HUGE},0]", "[0,0]", data=b""), "larger than any memory"),
        "shape-huge-but-empty": Hostile(one(f"[0,{HUGE},{HUGE}]", "[0,0]", data=b""), "larger than any memory"),
        "shape-64-huge-sizes": Hostile(one("[" + ",".join([str(HUGE)] * 64) + "]"), "larger than any memory"),
        "shape-one-terabyte": Hostile(one(f"[{1 << 38}]"), "has 8 bytes, but F32"),
        "offsets-one-terabyte": Hostile(
            one(f"[{1 << 38}]", f"[0,{1 << 40}]"), "take 1099511627776 bytes of data, but 8"
        ),
    }


def _layouts() -> dict[str, Hostile]:
    a, b = entry(), entry(offsets=(8, 16))
    return {
        "overlap": Hostile(described({"a": a, "b": entry(offsets=(4, 12))}, bytes(12)), "ends at 8"),
        "same-place": Hostile(described({"a": a, "b": a}), "ends at 8"),
        "same-place-beyond-the-file": Hostile(described({"a": a, "b": a}, b""), "ends at 8"),
        "contained": Hostile(described({"a": a, "b": entry(shape=(1,), offsets=(2, 6))}), "ends at 8"),
        "gap": Hostile(described({"a": a, "b": entry(offsets=(9, 17))}, bytes(17)), "ends at 8"),
        "gap-at-start": Hostile(described({"b": b}, bytes(16)), "ends at 0"),
        "empty-tensor-inside-another": Hostile(
            described({"a": a, "b": entry(shape=(0,), offsets=(4, 4))}), "ends at 8"
        ),
        "trailing-byte": Hostile(GOOD + b"\0", "take 8 bytes of data, but 9 are there"),
        "trailing-file": Hostile(GOOD + GOOD, "bytes of data, but"),
        "data-without-tensors": Hostile(framed("{}", b"\0"), "take 0 bytes of data, but 1 are there"),
        "tensor-too-short": Hostile(described({"a": entry(shape=(3,))}), "has 8 bytes, but F32 [3] needs 12"),
        "tensor-too-long": Hostile(described({"a": entry(shape=(1,))}), "has 8 bytes, but F32 [1] needs 4"),
        "tensor-beyond-the-file": Hostile(described({"a": a, "b": b}, bytes(12)), "take 16 bytes of data, but 12"),
    }


def write_all(directory: Path) -> None:
    """Write every hostile file."""
    for name, hostile in hostile_files().items():
        (directory / (name + SUFFIX)).write_bytes(hostile.data)


if __name__ == "__main__":
    write_all(HERE)
