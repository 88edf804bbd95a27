"""Tensors as Flower's parameters without a format around them: their bare bytes, in the order of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flwr.common import Parameters

from benchmarks.peers.work import Work
from benchmarks.updates import Floats


def packed(tensors: Sequence[Floats]) -> Parameters:
    """Return tensors as what travels."""
    return Parameters(tensors=[tensor.tobytes() for tensor in tensors], tensor_type="float32")


def unpacked(work: Work, parameters: Parameters) -> list[Floats]:
    """Return what travelled as tensors of the model, without a copy."""
    pairs = zip(parameters.tensors, work.outline.shapes().values(), strict=True)
    return [np.frombuffer(data, np.float32).reshape(shape) for data, shape in pairs]
