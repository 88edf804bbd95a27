import numpy as np
import pytest

from benchmarks.peers.flower_legacy import largest_message
from benchmarks.peers.work import Work, make_arrays
from benchmarks.updates import Floats, Outline, num_examples

CLIENTS = 3
OUTLINE = Outline(rows=8010)  # two layers


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("arrays")
    make_arrays(folder, OUTLINE, CLIENTS)
    return Work(str(folder), str(folder), OUTLINE.rows, CLIENTS, rounds=1, entered="", ready="")


@pytest.fixture(scope="module")
def first_mean(work: Work) -> list[Floats]:
    """Give the mean of the first turn's updates; not to be changed."""
    return mean(work, 1)


def mean(work: Work, turn: int) -> list[Floats]:
    updates = [work.update(client, turn) for client in range(CLIENTS)]
    weights = [float(num_examples(client)) for client in range(CLIENTS)]
    return [
        sum(tensor * np.float64(weight) for tensor, weight in zip(tensors, weights, strict=True)) / sum(weights)
        for tensors in zip(*updates, strict=True)
    ]


def test_tensors_have_the_models_shapes_and_differ_by_client_and_turn(work: Work) -> None:
    shapes = list(OUTLINE.shapes().values())
    first, other, later = work.update(0, 1), work.update(1, 1), work.update(0, 2)
    for update in (first, other, later, work.opening()):
        assert [tensor.shape for tensor in update] == shapes
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], later[0])


def test_the_mean_of_the_turn_before_is_what_clients_have_to_hold(work: Work, first_mean: list[Floats]) -> None:
    second_mean = mean(work, 2)
    for turn, right, wrong in ((2, first_mean, second_mean), (3, second_mean, first_mean)):
        assert work.largest_difference(right, turn) < 1e-12
        assert work.largest_difference(wrong, turn) > 1e-3


def test_of_a_model_as_one_flat_array_every_element_is_compared(work: Work, first_mean: list[Floats]) -> None:
    flat = np.concatenate([tensor.reshape(-1) for tensor in first_mean])
    assert work.largest_difference([flat], 2) < 1e-12
    for index in (0, 4_000_000, 4_004_999, 4_005_000, 4_005_009):
        right = flat[index]
        flat[index] += 0.25
        assert work.largest_difference([flat], 2) == pytest.approx(0.25)
        flat[index] = right


def test_a_value_that_is_no_number_is_found(work: Work) -> None:
    model = work.opening()
    model[1][7, 7] = np.nan
    assert not work.largest_difference(model, 1) <= 1e9


def test_a_model_of_another_size_differs_infinitely(work: Work) -> None:
    assert work.largest_difference(work.opening(), 1) == 0
    assert work.largest_difference(work.opening()[:-1], 1) == float("inf")


def test_the_message_limit_is_raised_only_for_models_that_need_it() -> None:
    assert largest_message(64_000_000) == 512 << 20
    assert largest_message(400_000_000) == 800_000_000
    assert largest_message(2_000_000_000) == (2 << 30) - 1
