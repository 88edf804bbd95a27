from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fedtier.dtypes import Array
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier.tensors import write_arrays
from fedtier_cli.published_task import require_published_of
from tests.fedtier_cli.published_models import Publisher, steps

pytestmark = pytest.mark.system


@pytest.fixture
def rounds(s3_environment: Mapping[str, str], bucket: str, bucket_key: str) -> RoundStore:
    return RoundStore(bucket, bucket_key)


def model(folder: Path, arrays: Mapping[str, Array]) -> Path:
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        write_arrays(file, arrays)
    return path


def test_other_values_are_no_other_task(rounds: RoundStore, tmp_path: Path) -> None:
    require_published_of("steps", model(tmp_path, steps(0, 0)), rounds)
    publisher = Publisher(rounds, tmp_path)
    publisher.publish(steps(9, 9))
    publisher.publish(steps(1, 9))
    require_published_of("steps", model(tmp_path, steps(0, 0)), rounds)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"steps": np.zeros(3, np.float32)}, r"steps is F32 \[2\], wanted F32 \[3\]"),
        ({"steps": np.zeros(2, np.float16)}, r"steps is F32 \[2\], wanted F16 \[2\]"),
        ({"steps": np.zeros(2, np.float32), "bias": np.zeros(1, np.float32)}, r"bias is not there, wanted F32 \[1\]"),
        ({}, r"steps is F32 \[2\], wanted not there"),
    ],
)
def test_a_model_with_other_tensors_is_of_another_task(
    rounds: RoundStore, tmp_path: Path, arrays: dict[str, Array], sentence: str
) -> None:
    Publisher(rounds, tmp_path).publish(steps(9, 9))
    with pytest.raises(StartupError, match=f"round 0 in s3://.* is no model of the task other: {sentence}; train the"):
        require_published_of("other", model(tmp_path, arrays), rounds)
