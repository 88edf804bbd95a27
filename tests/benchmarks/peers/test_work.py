import numpy as np
import pytest

from benchmarks.peers.flower_legacy import largest_message
from benchmarks.peers.work import Work, make_arrays
from benchmarks.updates import Floats, Outline, num_examples

CLIENTS = 3
OUTLINE = Outline(rows=9000)  # two layers


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("arrays")
    make_arrays(folder, OUTLINE, CLIENTS)
    return Work(str(folder), str(folder), OUTLINE.rows, CLIENTS, rounds=1, entered="", ready="")


def mean(work: Work, turn: int) -> list[Floats]:
    updates = [work.update(client, turn) for client in range(CLIENTS)]
    weights = [float(num_examples(client)) for client in range(CLIENTS)]
    return [
        np.average(np.stack(tensors).astype(np.float64), axis=0, weights=weights)
        for tensors in zip(*updates, strict=True)
    ]


def test_tensors_have_the_models_shapes_and_differ_by_client_and_turn(work: Work) -> None:
    shapes = list(OUTLINE.shapes().values())
    first, other, later = work.update(0, 1), work.update(1, 1), work.update(0, 2)
    for update in (first, other, later, work.opening()):
        assert [tensor.shape for tensor in update] == shapes
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], later[0])


def test_the_mean_of_the_turn_before_is_what_clients_have_to_hold(work: Work) -> None:
    for turn in (2, 3):
        assert work.largest_difference(mean(work, turn - 1), turn) < 1e-12
        assert work.largest_difference(mean(work, turn), turn) > 1e-3


def test_a_model_as_one_flat_array_is_compared_too(work: Work) -> None:
    flat = np.concatenate([tensor.reshape(-1) for tensor in mean(work, 1)])
    assert work.largest_difference([flat], 2) < 1e-12


@pytest.mark.parametrize("index", [0, 4_000_000, 4_499_999, 4_500_000, 4_500_009])
def test_one_wrong_element_is_found(work: Work, index: int) -> None:
    flat = np.concatenate([tensor.reshape(-1) for tensor in mean(work, 1)])
    flat[index] += 0.25
    assert work.largest_difference([flat], 2) == pytest.approx(0.25)


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
