import threading

import numpy as np
import pytest

from benchmarks.peers.apps.summing import WeightedSum
from benchmarks.updates import Floats


def test_the_mean_is_weighted_by_examples_and_longer_than_a_piece() -> None:
    low, high = np.arange(600_000, dtype=np.float32), np.full((2, 300_000), 3, np.float32)
    total = WeightedSum([low.size, 1])
    total.add([low, np.zeros(1, np.float32)], 1)
    total.add([high, np.full(1, 4, np.float32)], 3)
    weights, bias = total.mean()
    np.testing.assert_allclose(weights, (low + 9) / 4, rtol=1e-6)
    assert bias.tolist() == [3.0]


def test_updates_from_several_threads_are_all_counted() -> None:
    total = WeightedSum([100_000])
    update = np.ones(100_000, np.float32)
    threads = [threading.Thread(target=total.add, args=([update * number], 1)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mean,) = total.mean()
    assert set(mean.tolist()) == {3.5}


@pytest.mark.parametrize("tensors", [[np.ones(1, np.float32)], [np.ones(2, np.float32)] * 2])
def test_an_update_of_another_shape_is_refused(tensors: list[Floats]) -> None:
    with pytest.raises(ValueError, match=r"elements|argument 2 is"):
        WeightedSum([2]).add(tensors, 1)
