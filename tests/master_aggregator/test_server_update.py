"""The mean as a model's file: its bytes, their digest, and what the next round is planned by."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from fedtier.dtypes import Array
from fedtier.exact import ExactSum
from fedtier.fields import sha256_hex
from fedtier.kinds import CHUNK, plan_by_magnitude
from fedtier.rounds import RoundPlan
from fedtier.tensors import TensorFile
from master_aggregator.planning import plan_tensors
from master_aggregator.server_update import write_mean
from tests.builders import make_plan, model_arrays, safetensors, trained


@pytest.fixture
def plan() -> RoundPlan:
    return make_plan(arrays())


def arrays() -> dict[str, Array]:
    """Return a model with a tensor of every kind, one of them of several chunks, and in each storage of floats."""
    large = np.linspace(-3, 5, 2 * CHUNK + 7, dtype=np.float32)
    return model_arrays() | {
        "large": large,
        "half": large[:90_000].astype(np.float16),
        "double": np.full((2, 2), 1e9),
        "empty": np.zeros((0, 3), np.float32),
        "masks": np.where(large > 0, large, -np.inf).astype(np.float32),
    }


def test_the_file_is_the_mean_of_each_tensor_and_the_digest_is_the_file_s(plan: RoundPlan, tmp_path: Path) -> None:
    total, base, out = summed(plan), base_in(tmp_path), io.BytesIO()
    written = write_mean(total, base, out)
    assert (written.digest.sha256, written.digest.bytes) == (sha256_hex(out.getvalue()), len(out.getvalue()))
    (tmp_path / "mean").write_bytes(out.getvalue())
    mean = TensorFile(tmp_path / "mean")
    for tensor in plan.sums.summed:
        expected = [chunk.copy() for chunk in total.mean(tensor)] or [np.zeros(0)]
        assert np.array_equal(mean.array(tensor.name).reshape(-1), np.concatenate(expected)), tensor.name
    for name in ("mask", "masks"):
        assert np.array_equal(mean.array(name), arrays()[name])


def test_the_next_round_is_planned_as_from_the_written_file(plan: RoundPlan, tmp_path: Path) -> None:
    with (tmp_path / "mean").open("wb") as file:
        written = write_mean(summed(plan), base_in(tmp_path), file)
    planned = tuple(
        plan_by_magnitude(tensor.spec, magnitude, plan.weight_limit)
        for tensor, magnitude in zip(plan.tensors, written.magnitudes, strict=True)
    )
    assert planned == plan_tensors(tmp_path / "mean", plan.weight_limit)
    assert {tensor.kind for tensor in planned} == {"float", "wide", "integer", "kept"}


@pytest.mark.parametrize("room", [0, 100, 400_000])
def test_a_full_disk_is_heard_of_wherever_it_is_met(plan: RoundPlan, tmp_path: Path, room: int) -> None:
    with pytest.raises(OSError, match="full"):
        write_mean(summed(plan), base_in(tmp_path), SmallDisk(room))


def summed(plan: RoundPlan) -> ExactSum:
    total = ExactSum(plan.sums)
    for seed in (1, 2):
        total.fold(trained(seed, arrays()), seed)
    return total


def base_in(folder: Path) -> Path:
    path = folder / "base"
    path.write_bytes(safetensors(arrays()))
    return path


class SmallDisk(io.BytesIO):
    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: object) -> int:
        written = super().write(data)  # type: ignore[arg-type]
        if self.tell() > self._room:
            raise OSError(28, "full")
        return written
