from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.datasets.partition import SCHEMES, iid
from fedtier.problems import StartupError


@given(data=st.data(), count=st.integers(1, 300), seed=st.integers(0, 2**64))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_example_goes_to_exactly_one_client_and_nobody_gets_none(
    scheme: str, data: st.DataObject, count: int, seed: int
) -> None:
    labels = np.arange(count) % 10
    clients = data.draw(st.integers(1, count))

    parts = SCHEMES[scheme](labels, clients, seed)

    assert len(parts) == clients
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert min(len(part) for part in parts) >= 1
    again = SCHEMES[scheme](labels, clients, seed)
    assert all(np.array_equal(part, same) for part, same in zip(parts, again, strict=True))


@given(count=st.integers(1, 300), clients=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_iid_sizes_differ_by_at_most_one(count: int, clients: int, seed: int) -> None:
    sizes = [len(part) for part in iid(np.zeros(max(count, clients)), clients, seed)]

    assert max(sizes) - min(sizes) <= 1


def test_another_seed_deals_otherwise() -> None:
    labels = np.zeros(100)

    assert not np.array_equal(iid(labels, 2, 0)[0], iid(labels, 2, 1)[0])


def test_iid_parts_look_like_the_whole() -> None:
    labels = np.repeat(np.arange(10), 1000)

    for part in iid(labels, 10, 0):
        assert np.bincount(labels[part], minlength=10).min() > 60


def test_the_parts_are_the_same_on_every_machine() -> None:
    assert [part.tolist() for part in iid(np.zeros(10), 3, seed=7)] == PINNED


@pytest.mark.parametrize("clients", [0, -1, 11])
def test_a_number_of_clients_that_cannot_be_is_one_clear_sentence(clients: int) -> None:
    with pytest.raises(StartupError, match=f"10 examples cannot be dealt out to {clients} clients"):
        iid(np.zeros(10), clients, 0)


PINNED = [[3, 4, 6, 9], [0, 2, 8], [1, 5, 7]]
