from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.tasks.confusion import ConfusionCounts
from fedtier.problems import StartupError

NAMES = ("cat", "dog", "owl")
CLASSES = st.integers(0, len(NAMES) - 1)


def outputs_saying(classes: list[int]) -> torch.Tensor:
    """Return scores whose largest is that of each class."""
    return torch.nn.functional.one_hot(torch.tensor(classes), len(NAMES)).float()


@given(st.lists(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=9), min_size=1, max_size=4))
def test_each_example_is_counted_once_where_its_class_and_the_model_s_meet(
    batches: list[list[tuple[int, int]]],
) -> None:
    counts = ConfusionCounts(NAMES)
    expected = np.zeros((3, 3), np.int64)
    for batch in batches:
        truth, said = [pair[0] for pair in batch], [pair[1] for pair in batch]
        counts.add(outputs_saying(said), torch.tensor(truth))
        for row, column in batch:
            expected[row, column] += 1

    matrix = counts.matrix()

    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("outputs", [torch.zeros(2, 4), torch.zeros(2, 2), torch.zeros(2)])
def test_a_model_of_another_number_of_classes_is_one_clear_sentence(outputs: torch.Tensor) -> None:
    with pytest.raises(StartupError, match=r"outputs of shape \[2.*but label_names has 3 classes"):
        ConfusionCounts(NAMES).add(outputs, torch.tensor([0, 1]))


@pytest.mark.parametrize(("targets", "seen"), [([0, 3], "from 0 to 3"), ([-1, 1], "from -1 to 1")])
def test_a_target_without_a_name_is_one_clear_sentence(targets: list[int], seen: str) -> None:
    with pytest.raises(StartupError, match=f"targets reach {seen}, but label_names has 3"):
        ConfusionCounts(NAMES).add(outputs_saying([0, 1]), torch.tensor(targets))


@pytest.mark.parametrize(
    ("targets", "seen"), [(torch.tensor([0.0, 1.0]), r"float32 \[2\]"), (torch.tensor([[0], [1]]), r"int64 \[2, 1\]")]
)
def test_targets_that_are_no_classes_are_one_clear_sentence(targets: torch.Tensor, seen: str) -> None:
    with pytest.raises(StartupError, match=f"targets are torch.{seen}, but label_names wants one whole number"):
        ConfusionCounts(NAMES).add(outputs_saying([0, 1]), targets)


def test_targets_of_few_bits_are_counted_as_any_others() -> None:
    names = [str(number) for number in range(20)]
    counts = ConfusionCounts(names)

    counts.add(
        torch.nn.functional.one_hot(torch.tensor([19, 3]), 20).float(), torch.tensor([19, 18], dtype=torch.uint8)
    )

    assert np.argwhere(counts.matrix()).tolist() == [[18, 3], [19, 19]]
