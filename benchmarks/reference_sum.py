"""What a round of a benchmark has to give, to the bit: computed from the definition, without fedtier's code.

docs/architecture.md defines the sums. This is NumPy on blocks of 4 MB, so the memory it takes does not grow with
the model. It knows what `benchmarks.updates` can give: float32 values below 1, so that every round has the same
exponent, and one bias that is summed as a wide tensor, here in Python's integers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, BinaryIO, Final

import numpy as np

from benchmarks.updates import (
    Floats,
    Outline,
    base_blocks,
    bias_of,
    client_blocks,
    num_examples,
    opening_bias,
)

WEIGHT_LIMIT: Final = 1 << 28
_WIDE_EXPONENT: Final = 149


def published_sha256(
    outline: Outline, seed: int, clients: int, rounds: int, upload_dtype: str = "float32"
) -> list[str]:
    """Return the SHA-256 of the model files of rounds 1 to `rounds`, every client being in each.

    Parameters
    ----------
    outline : Outline
    seed, clients, rounds : int
    upload_dtype : {"float32", "bfloat16", "float16"}
        As which the layers travel; the bias stays float32.
    """
    digests = {number: hashlib.sha256(file_header(outline.shapes())) for number in range(1, rounds + 1)}
    start = 0
    for mean in _mean_blocks(outline, seed, clients, _AS_UPLOADED[upload_dtype]):
        for number, digest in digests.items():
            window = outline.window(number)
            begin, end = max(window.start - start, 0), min(window.stop - start, mean.size)
            if begin < end:
                digest.update(mean[begin:end].data)
        start += mean.size
    for number, digest in digests.items():
        digest.update(_mean_bias(clients, number).data)
    return [digest.hexdigest() for digest in digests.values()]


def write_opening_model(file: BinaryIO, outline: Outline, seed: int) -> None:
    """Write the model that the federation begins with."""
    file.write(file_header(outline.shapes()))
    left = outline.elements
    for block in base_blocks(outline, seed):
        file.write(block[:left].data)
        left -= min(left, block.size)
    file.write(opening_bias().data)


def file_header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return length field and header of a safetensors file of float32 tensors, in this order."""
    document, position = {}, 0
    for name, shape in shapes.items():
        end = position + 4 * math.prod(shape)
        document[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _mean_blocks(
    outline: Outline, seed: int, clients: int, as_uploaded: Callable[[Floats], Floats]
) -> Iterator[Floats]:
    """Yield the weighted mean of all clients' values; each window of it is a round's."""
    exponent = _exponent(1.0)
    weight = sum(map(num_examples, range(clients)))
    of_clients = [client_blocks(outline, seed, client) for client in range(clients)]
    for base in base_blocks(outline, seed):
        _require_below_one(base)
        total = np.zeros(base.size, np.int64)
        for client, blocks in enumerate(of_clients):
            scaled = as_uploaded(next(blocks)).astype(np.float64)
            scaled *= num_examples(client) * 2.0**exponent
            total += np.rint(scaled).astype(np.int64)
        mean = (total.astype(np.float64) / (weight * 2.0**exponent)).astype(np.float32)
        mean += np.float32(0)  # no -0.0
        _require_below_one(mean)
        yield mean


def _exponent(largest: float) -> int:
    """Return ``e_t`` of a float tensor whose opening values have this magnitude at most."""
    magnitude = 256 * max(1.0, largest)
    fraction, k = math.frexp(magnitude)
    return 62 - (WEIGHT_LIMIT - 1).bit_length() - (k - 1 if fraction == 0.5 else k)


def _require_below_one(values: Floats) -> None:
    if not (values.max() <= 1 and values.min() >= -1):
        raise ValueError("the values reach beyond 1: rounds would have different exponents")


def _mean_bias(clients: int, round_number: int) -> Floats:
    biases = [bias_of(client, round_number) for client in range(clients)]
    weights = [num_examples(client) for client in range(clients)]
    means = []
    for column in zip(*biases, strict=True):
        total = sum(
            (
                round(Fraction(float(value)) * weight * 2**_WIDE_EXPONENT)
                for value, weight in zip(column, weights, strict=True)
            ),
            0,
        )
        means.append(float(total) / (sum(weights) * 2.0**_WIDE_EXPONENT))
    return np.array(means, np.float64).astype(np.float32)


def _bfloat16(values: Floats) -> Floats:
    """Round to bfloat16, half to even, and widen."""
    bits = values.view(np.uint32)
    odd = (bits >> 16) & 1
    return ((bits + 0x7FFF + odd) & np.uint32(0xFFFF0000)).view(np.float32)


_AS_UPLOADED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "float32": lambda values: values,
    "bfloat16": _bfloat16,
    "float16": lambda values: values.astype(np.float16).astype(np.float32),
}
UPLOAD_DTYPES: Final = tuple(_AS_UPLOADED)
