"""The benchmarks' fast reference is held against the slow and obvious one of the tests."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reference_sum import WEIGHT_LIMIT, published_sha256, write_opening_model
from benchmarks.updates import BIAS, ClientUpdates, Outline
from fedtier.tensors import TensorFile
from tests import reference

SEED = 7


@pytest.mark.parametrize("clients", [1, 3])
def test_every_round_is_what_the_definition_says(tmp_path: Path, clients: int) -> None:
    outline = Outline(1)
    opening = tmp_path / "opening.safetensors"
    with opening.open("wb") as file:
        write_opening_model(file, outline, SEED)
    base = [(name, as_tensor(TensorFile(opening).array(name))) for name in outline.shapes()]
    everyone = [ClientUpdates.made(outline, SEED, client) for client in range(clients)]
    expected = []
    for number in (1, 2):
        updates = [
            ({name: as_tensor(array) for name, array in one.of_round(number).items()}, one.num_examples)
            for one in everyone
        ]
        expected.append(hashlib.sha256(reference.round_model(base, updates, WEIGHT_LIMIT)).hexdigest())
    assert published_sha256(outline, SEED, clients, rounds=2) == expected


@pytest.mark.parametrize("upload_dtype", ["bfloat16", "float16"])
def test_halves_are_rounded_once_before_they_are_summed(tmp_path: Path, upload_dtype: str) -> None:
    outline = Outline(1)
    one = ClientUpdates.made(outline, SEED, 0)
    update = one.of_round(1)
    stored = {"bfloat16": "BF16", "float16": "F16"}[upload_dtype]
    weight = next(name for name in update if name != BIAS)
    halves = [
        reference.nearest(value, stored) for value in reference.numbers(as_tensor(update[weight])) if value is not None
    ]
    update[weight] = np.array([float(value) for value in halves], np.float32).reshape(update[weight].shape)
    base = [(name, as_tensor(array)) for name, array in update.items()]
    sent = [({name: as_tensor(array) for name, array in update.items()}, one.num_examples)]
    expected = hashlib.sha256(reference.round_model(base, sent, WEIGHT_LIMIT)).hexdigest()
    assert published_sha256(outline, SEED, 1, rounds=1, upload_dtype=upload_dtype) == [expected]
    assert published_sha256(outline, SEED, 1, rounds=1) != [expected]


def test_a_model_of_several_layers_and_blocks_is_as_if_it_were_summed_at_once() -> None:
    outline = Outline.of_megabytes(16.1)
    assert len(outline.shapes()) == 3
    file = io.BytesIO()
    write_opening_model(file, outline, SEED)
    header = file.getvalue()[: -outline.nbytes]
    expected = hashlib.sha256(header)
    both = [ClientUpdates.made(outline, SEED, client) for client in range(2)]
    weight = sum(one.num_examples for one in both)
    for name in outline.shapes():
        # Of the bias, float64 holds every sum.
        exponent = 0 if name == BIAS else 26
        sums = [one.of_round(2)[name].astype(np.float64) * (one.num_examples * 2.0**exponent) for one in both]
        total = np.sum(sums if name == BIAS else np.rint(sums), axis=0)
        mean = total / (weight * 2.0**exponent)
        expected.update(mean.astype(np.float32).tobytes())
    assert published_sha256(outline, SEED, 2, rounds=2)[-1] == expected.hexdigest()


def test_all_values_change_from_round_to_round() -> None:
    one = ClientUpdates.made(Outline(3), SEED, 0)
    first, second = one.of_round(1), one.of_round(2)
    assert all((first[name] != second[name]).all() for name in first)


def as_tensor(array: np.ndarray) -> reference.Tensor:
    return reference.Tensor("F32", array.shape, array.tobytes())
