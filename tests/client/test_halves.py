"""What a client sends at half its size, and what it leaves as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.halves import UPLOAD_DTYPES, UploadDtype, halved
from fedtier.dtypes import Array, TensorSpec, round_to
from fedtier.entries import read_update
from fedtier.tensors import write_arrays
from tests.builders import make_plan, received

MODEL: dict[str, Array] = {
    "a.weight": np.zeros((4, 3), np.float32),
    "b.weight": np.zeros((2, 2), np.float32),
    "bias": np.zeros(3, np.float32),
    "double": np.zeros((2, 2)),
    "steps": np.zeros((2, 2), np.int64),
    "mask": np.full((1, 2), -np.inf, np.float32),
}
PLAN = make_plan(MODEL)
HALVES: list[UploadDtype] = ["bfloat16", "float16"]


def dtypes(specs: tuple[TensorSpec, ...]) -> dict[str, str]:
    return {spec.name: spec.dtype for spec in specs}


def trained(**changed: Array) -> dict[str, Array]:
    values = np.random.default_rng(2).normal(0, 1, (4, 3)).astype(np.float32)
    return {**MODEL, "a.weight": values, **{name.replace("_", "."): array for name, array in changed.items()}}


@pytest.mark.parametrize("upload_dtype", HALVES)
def test_large_float32_tensors_are_rounded_and_nothing_else(upload_dtype: UploadDtype, tmp_path: Path) -> None:
    stored = trained()
    arrays, specs = halved(PLAN.sums, stored, upload_dtype)
    half = UPLOAD_DTYPES[upload_dtype]
    assert dtypes(specs) == {
        "a.weight": half,
        "b.weight": half,
        "bias": "F32",
        "double": "F64",
        "steps": "I64",
        "mask": "F32",
    }
    assert arrays["a.weight"].tobytes() == round_to(stored["a.weight"], half).tobytes()
    assert all(arrays[name] is stored[name] for name in ("bias", "double", "steps", "mask"))
    path = tmp_path / "update"
    with path.open("wb") as file:
        write_arrays(file, arrays, specs=specs, metadata={"num_examples": "3"})
    assert read_update(PLAN, "a", received(path, path.read_bytes())).total_weight == 3


def test_float32_is_sent_as_it_is() -> None:
    stored = trained()
    arrays, specs = halved(PLAN.sums, stored, "float32")
    assert specs == tuple(tensor.spec for tensor in PLAN.tensors)
    assert all(arrays[name] is stored[name] for name in stored)


@pytest.mark.parametrize(
    ("upload_dtype", "base", "value", "fits"),
    [
        ("float16", 300.0, 65519.0, True),  # rounds to 65504, the largest of F16
        ("float16", 300.0, 65520.0, False),  # rounds to infinity
        ("bfloat16", 300.0, 65520.0, True),
        ("bfloat16", 0.0, 255.0, True),
        (
            "bfloat16",
            0.0,
            np.nextafter(np.float32(256), np.float32(0)),
            False,
        ),  # rounds to 256, which the round refuses
    ],
)
def test_a_tensor_with_a_number_that_does_not_fit_stays_float32(
    upload_dtype: UploadDtype, base: float, value: float, fits: bool
) -> None:
    model = {**MODEL, "b.weight": np.full((2, 2), base, np.float32)}
    update = trained(b_weight=np.full((2, 2), value, np.float32))
    arrays, specs = halved(make_plan(model).sums, update, upload_dtype)
    half = UPLOAD_DTYPES[upload_dtype]
    assert dtypes(specs)["a.weight"] == half
    assert dtypes(specs)["b.weight"] == (half if fits else "F32")
    assert (arrays["b.weight"] is update["b.weight"]) is not fits
