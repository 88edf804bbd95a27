"""Files are written the same everywhere and read as the safetensors package reads them; hostile ones are refused."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedtier.dtypes import STORAGE, Array, TensorSpec, Values, as_stored, round_to_bfloat16, spec_of, widen
from fedtier.header import Header, encode_header, parse_header, read_header
from fedtier.problems import NotSafetensors
from fedtier.tensors import TensorFile, write_arrays
from tests import reference
from tests.fedtier.models import DTYPES
from tests.hostile.make import GOOD, HERE, SUFFIX, entry, framed, hostile_files, one
from tests.hostile.mutations import mutated

ROOT = Path(__file__).parents[2]
HOSTILE = hostile_files()
_deserialize: Any = safetensors.deserialize  # has no annotations


def content(data: bytes, header: Header) -> dict[str, tuple[str, list[int], bytes]]:
    starts = header.offsets
    return {s.name: (s.dtype, list(s.shape), data[starts[s.name] : starts[s.name] + s.nbytes]) for s in header.specs}


def content_by_package(data: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    return {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in _deserialize(data)}


def metadata_by_package(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="np") as file:
        return file.metadata() or {}


def written(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays, **options)
    return file.getvalue()


# Writing


def test_a_file_is_this_to_the_byte() -> None:
    arrays = {"b": np.array([1, 2], np.uint8), "a.é": np.array(1.5, np.float32)}
    data = written(arrays, metadata={"z": "1", "a": '"'})
    header = (
        '{"__metadata__":{"a":"\\"","z":"1"},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
        '"a.é":{"dtype":"F32","shape":[],"data_offsets":[2,6]}}'
    ).encode()
    padding = -len(header) % 8
    assert padding > 0
    assert data == struct.pack("<Q", len(header) + padding) + header + b" " * padding + b"\x01\x02\x00\x00\xc0\x3f"


def test_a_file_without_metadata_says_nothing_of_it() -> None:
    assert b"__metadata__" not in written({"a": np.zeros(1)})
    assert encode_header([], {}) == struct.pack("<Q", 8) + b"{}      "


def test_every_process_writes_the_same_file() -> None:
    program = (
        "import io, sys, numpy as np; from fedtier.tensors import write_arrays\n"
        "file = io.BytesIO()\n"
        "keys = {'num_examples', 'metrics', 'format', 'a', 'b', 'c', 'd'}\n"
        "write_arrays(file, {'w': np.arange(3.0)}, metadata={key: key for key in keys})\n"
        "sys.stdout.buffer.write(file.getvalue())"
    )
    files = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(files) == 1
    assert content_by_package(files.pop())["w"][1] == [3]


strings = st.text(st.characters(codec="utf-8"), max_size=12)
names = strings.filter(lambda name: name != "__metadata__")


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], list[TensorSpec], dict[str, str]]:
    chosen = draw(st.lists(names, max_size=4, unique=True))
    specs, arrays = [], {}
    for name in chosen:
        dtype = draw(st.sampled_from(DTYPES))
        shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 0), (2, 3), (1, 1, 2)]))
        spec = TensorSpec(name, dtype, shape)
        data = draw(st.binary(min_size=spec.nbytes, max_size=spec.nbytes))
        specs.append(spec)
        arrays[name] = np.frombuffer(data, STORAGE[dtype]).reshape(shape)
    return arrays, specs, draw(st.dictionaries(strings, strings, max_size=3))


@given(files())
@settings(max_examples=80, deadline=None)
def test_the_package_reads_what_is_written(drawn: tuple[dict[str, Any], list[TensorSpec], dict[str, str]]) -> None:
    arrays, specs, metadata = drawn
    data = written(arrays, specs=specs, metadata=metadata)
    expected = {s.name: (s.dtype, list(s.shape), arrays[s.name].tobytes()) for s in specs}
    assert content_by_package(data) == expected
    header = read_header(io.BytesIO(data))
    assert content(data, header) == expected
    assert header.metadata == metadata
    assert header.specs == tuple(specs) or any(spec.nbytes == 0 for spec in specs)


def test_the_package_reads_the_metadata_that_is_written(tmp_path: Path) -> None:
    metadata = {"num_examples": "600", "metrics": '{"loss": 0.5}', "": '\0\n"\\é😀'}
    path = tmp_path / "model.safetensors"
    path.write_bytes(written({"a": np.zeros(2)}, metadata=metadata))
    assert metadata_by_package(path) == metadata == TensorFile(path).header.metadata


def test_arrays_of_any_memory_layout_are_written_in_order() -> None:
    grid = np.arange(12, dtype=np.int16).reshape(3, 4)
    for array in (grid.T, grid[::2, ::-1], np.asfortranarray(grid)):
        assert content_by_package(written({"a": array}))["a"][2] == array.tobytes("C")


@pytest.mark.parametrize("dtype", ["complex64", ">f4", "S3", "datetime64[s]", "O"])
def test_arrays_that_the_format_cannot_hold_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"tensor 'a' has dtype .* which safetensors cannot hold"):
        spec_of("a", np.zeros(2, dtype))


def test_an_array_must_be_of_its_spec() -> None:
    spec = TensorSpec("a", "F32", (2,))
    with pytest.raises(ValueError, match=r"'a' has shape \[3\], wanted \[2\]"):
        as_stored(np.zeros(3, np.float32), spec)
    with pytest.raises(ValueError, match="'a' has dtype float64, wanted F32"):
        as_stored(np.zeros(2), spec)
    with pytest.raises(ValueError, match="'a' has dtype int16, wanted BF16"):
        as_stored(np.zeros(2, np.int16), TensorSpec("a", "BF16", (2,)))


# BF16


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(1.00390625)  # halfway between two BF16 numbers, to even downwards
@example(1.01171875)  # the same, upwards
@example(-0.0)
@example(1e-45)
@settings(max_examples=300, deadline=None)
def test_rounding_to_bfloat16_is_to_nearest_half_to_even(value: float) -> None:
    bits = int(round_to_bfloat16(np.array([value], np.float32))[0])
    single = reference.Tensor("F32", (1,), struct.pack("<f", value))
    exact = reference.numbers(single)[0]
    assert exact is not None
    try:
        expected = int.from_bytes(reference.encode(reference.nearest(exact, "BF16"), "BF16"), "little")
    except reference.Refused:
        expected = 0x7F80
    if value < 0 or struct.pack("<f", value) == struct.pack("<f", -0.0):
        expected |= 0x8000
    assert bits == expected


def test_bfloat16_keeps_what_is_not_finite_and_comes_back_wider() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1.5, -0.0, 0.0], np.float32)
    # A NaN whose payload lies in the low bits only must not become an infinity.
    values[0] = np.array([0x7F800001], np.uint32).view(np.float32)[0]
    back = widen(round_to_bfloat16(values), "BF16")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, values)
    assert np.signbit(back).tolist()[-2:] == [True, False]
    assert widen(values, "F32") is values


# Reading


def test_a_tensor_is_read_into_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(
        written({"bias": np.array([1, 2], np.float32), "scale": np.array(3, np.int64), "none": np.zeros((0, 4))})
    )
    file = TensorFile(path)
    bias = file.array("bias")
    assert bias.tolist() == [1, 2]
    assert file.array("scale").shape == ()
    assert file.array("none").shape == (0, 4)
    assert "bias" in file
    assert "weight" not in file
    assert file.spec("bias") == TensorSpec("bias", "F32", (2,))
    with pytest.raises(KeyError):
        file.array("weight")
    bias += 1
    assert file.array("bias").tolist() == [1, 2]


def test_windows_of_a_file_are_those_of_the_array(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays: dict[str, Array] = {
        "pad": np.zeros(3, np.int8),
        "w": np.arange(24, dtype=np.float32).reshape(4, 6),
        "none": np.zeros((0, 4)),
    }
    path.write_bytes(written(arrays))
    file = TensorFile(path)
    values: Values = file.values("w")
    assert (values.shape, values.size, values.dtype) == ((4, 6), 24, np.dtype(np.float32))
    flat = values.ravel()
    for start, stop in [(0, 24), (0, 1), (5, 17), (20, 99), (24, 30)]:
        assert flat[start:stop].tolist() == arrays["w"].ravel()[start:stop].tolist()
    assert file.values("none")[0:5].size == 0
    with pytest.raises(KeyError):
        file.values("weight")


def test_a_file_whose_header_is_known_is_not_checked_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(written({"a": np.array([1.5, 2.5])}))
    header = TensorFile(path).header
    with path.open("r+b") as file:
        file.write(b"\xff" * 8)
    assert TensorFile(path, header=header).array("a").tolist() == [1.5, 2.5]


def test_a_file_that_lost_its_end_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(written({"a": np.arange(100.0)}))
    file = TensorFile(path)
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size - 8)
    assert file.values("a")[0:99].tolist() == list(range(99))
    with pytest.raises(OSError, match="has lost its end") as failed:
        file.values("a")[98:100]
    assert failed.value.filename == str(path)
    with pytest.raises(OSError, match="has lost its end"):
        file.array("a")
    with pytest.raises(OSError, match="has lost its end"):
        file.private_arrays()


def test_a_file_is_closed_when_nobody_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(written({"a": np.arange(3.0)}))
    file = TensorFile(path)
    held = file._file
    values = file.values("a")
    del file
    assert values[0:3].tolist() == [0, 1, 2]
    del values
    assert held.closed


def test_a_file_of_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.write_bytes(written({}))
    assert TensorFile(path).header == Header((), {}, path.stat().st_size)
    assert TensorFile(path).private_arrays() == {}


def test_an_empty_tensor_at_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.write_bytes(written({"a": np.zeros(0)}))
    assert TensorFile(path).array("a").tolist() == []
    assert TensorFile(path).private_arrays()["a"].tolist() == []


@pytest.mark.parametrize("spaces", range(8))
def test_tensors_at_odd_addresses_are_read(tmp_path: Path, spaces: int) -> None:
    path = tmp_path / "odd.safetensors"
    header = json.dumps({"a": entry("U8", [1], [0, 1]), "b": entry("F64", [2], [1, 17])}) + " " * spaces
    path.write_bytes(framed(header, b"\x07" + np.array([0.5, -2.0]).tobytes()))
    file = TensorFile(path)
    for array in (file.array("b"), file.private_arrays()["b"]):
        assert array.tolist() == [0.5, -2.0]
        assert array.flags.aligned
        assert array.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_as_it_was_written(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "model.safetensors"
    spec = TensorSpec("a", dtype, (2, 2))
    array = np.arange(4).astype(STORAGE[dtype]).reshape(2, 2)
    path.write_bytes(written({"a": array}, specs=[spec]))
    file = TensorFile(path)
    assert file.spec("a") == spec
    for read in (file.array("a"), file.private_arrays()["a"]):
        np.testing.assert_array_equal(read, array)
        assert read.dtype == STORAGE[dtype]


def test_order_in_the_header_and_order_of_the_data_may_differ() -> None:
    header = framed(json.dumps({"z": entry(offsets=[8, 16]), "a": entry()}), bytes(16))
    assert [spec.name for spec in read_header(io.BytesIO(header)).specs] == ["a", "z"]


# Hostile files


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_a_byte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name].data)
    with pytest.raises(NotSafetensors) as refused:
        TensorFile(path)
    byte = refused.value.members["byte"]
    assert 0 <= byte <= len(HOSTILE[name].data)
    assert refused.value.detail.startswith(f"not a safetensors file: at byte {byte}, ")
    assert HOSTILE[name].refusal in refused.value.detail
    assert len(refused.value.detail.encode()) < 2000


def test_the_hostile_files_are_kept_as_they_are_made() -> None:
    kept = {path.name.removesuffix(SUFFIX): path.read_bytes() for path in HERE.glob("*" + SUFFIX)}
    assert kept == {name: hostile.data for name, hostile in HOSTILE.items()}
    assert read_header(io.BytesIO(GOOD)).metadata == {"num_examples": "600"}


@pytest.mark.parametrize("name", HOSTILE)
def test_refusing_takes_memory_in_proportion_to_the_file(name: str) -> None:
    data = HOSTILE[name].data
    file = io.BytesIO(data)
    tracemalloc.start()
    try:
        with pytest.raises(NotSafetensors):
            read_header(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1 << 18) + 64 * len(data)


def test_a_header_past_the_limit_is_never_read(tmp_path: Path) -> None:
    class Watched(io.FileIO):
        longest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            got = super().read(size)
            self.longest = max(self.longest, len(got))
            return got

    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 32))
        file.truncate(1 << 33)
    with Watched(path) as watched, pytest.raises(NotSafetensors, match=f"{1 << 32}, more than the {1 << 24} allowed"):
        read_header(watched)
    assert watched.longest == 8


def test_the_header_limit_is_the_caller_s() -> None:
    length = struct.unpack("<Q", GOOD[:8])[0]
    assert read_header(io.BytesIO(GOOD), header_limit=length).specs
    with pytest.raises(NotSafetensors, match=f"more than the {length - 1} allowed"):
        read_header(io.BytesIO(GOOD), header_limit=length - 1)


def test_a_syntax_error_is_named_at_its_byte() -> None:
    with pytest.raises(NotSafetensors) as refused:
        parse_header('{"é":!}'.encode(), data_bytes=0)
    assert refused.value.members["byte"] == 8 + 6  # é takes two bytes
    with pytest.raises(NotSafetensors) as undecodable:
        parse_header(b'{"a\xff"', data_bytes=0)
    assert undecodable.value.members["byte"] == 8 + 3


def test_dtypes_that_other_programs_know_are_refused_by_name() -> None:
    for dtype in ("F8_E4M3", "C64", "F4"):
        with pytest.raises(NotSafetensors, match=f"'{dtype}', not one of F64, F32"):
            read_header(io.BytesIO(one(dtype=f'"{dtype}"')))


# What is accepted, the package accepts, and reads the same


SEED_FILES = [
    GOOD,
    framed(json.dumps({"a": entry("U8", [3], [0, 3]), "b": entry("I64", [], [3, 11])}), bytes(range(11))),
    framed(json.dumps({"x": entry("F16", [0, 2], [0, 0]), "y": entry("BF16", [2, 1], [0, 4])}), b"\x01\x02\x03\x04"),
    framed('{"\\u0061":{"shape":[1] , "data_offsets":\n[0,1],"dtype":"BOOL"}}', b"\x01"),
]


def accepted(data: bytes) -> Header | None:
    try:
        return read_header(io.BytesIO(data))
    except NotSafetensors as problem:
        byte = problem.members["byte"]
    assert 0 <= byte <= len(data)
    return None


@given(mutated(SEED_FILES))
@settings(max_examples=1500, deadline=None)
def test_the_package_reads_every_mutation_that_is_accepted(data: bytes) -> None:
    header = accepted(data)
    if header is not None:
        assert content(data, header) == content_by_package(data)


sizes = st.one_of(st.integers(0, 4), st.sampled_from([1 << 31, 1 << 62, (1 << 63) - 1, -1, -0.0, 1.5, True, None, "1"]))


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__", "é"]),
        st.one_of(
            st.fixed_dictionaries(
                {
                    "dtype": st.sampled_from(["U8", "I16", "BOOL", "F8", 1]),
                    "shape": st.lists(sizes, max_size=3),
                    "data_offsets": st.lists(sizes, min_size=2, max_size=2),
                }
            ),
            st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
        ),
        max_size=3,
    ),
    st.binary(max_size=6),
)
@settings(max_examples=800, deadline=None)
def test_the_package_reads_every_description_that_is_accepted(document: dict[str, Any], data: bytes) -> None:
    file = framed(json.dumps(document), data)
    header = accepted(file)
    if header is not None:
        assert content(file, header) == content_by_package(file)


@given(st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    accepted(data)
    accepted(framed(b"{" + data))


@pytest.mark.parametrize("data", SEED_FILES)
def test_the_files_that_are_mutated_are_good(data: bytes) -> None:
    header = accepted(data)
    assert header is not None
    assert content(data, header) == content_by_package(data)
