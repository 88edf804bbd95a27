from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.datasets.partition import SCHEMES, Partition, split
from client.datasets.schemes import Indices, Labels
from fedtier.problems import StartupError

ALPHAS = st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.sampled_from([1e-3, 0.1, 0.5, 1.0, 100.0])
SEEDS = st.integers(0, 2**200)


@st.composite
def labelled(draw: st.DrawFn, least: int = 1) -> Labels:
    """Labels of at least so many examples: few or many, in any proportions, values with gaps between them."""
    kinds = draw(st.lists(st.integers(0, 255), min_size=1, max_size=12, unique=True))
    count = draw(st.integers(least, 400))
    picks = np.random.default_rng(draw(st.integers(0, 99))).zipf(1.5, count) % len(kinds)
    return np.array(kinds, np.uint8)[picks]


def sizes(parts: Sequence[Indices]) -> list[int]:
    return [len(part) for part in parts]


def digest(parts: Sequence[Indices]) -> str:
    return hashlib.sha256(b"|".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()[:16]


def refusal(labels: Labels, clients: int, partition: Partition) -> str:
    with pytest.raises(StartupError) as caught:
        split(labels, clients, 0, partition)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_dealt_out(parts: Sequence[Indices], clients: int, examples: int) -> None:
    """Every example is with exactly one client, nobody has none, and indices ascend."""
    assert len(parts) == clients
    assert sorted(np.concatenate(parts).tolist()) == list(range(examples))
    assert min(sizes(parts)) >= 1
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@settings(deadline=None, max_examples=50)
@given(data=st.data(), labels=labelled(least=2), alpha=ALPHAS, seed=SEEDS)
@pytest.mark.parametrize("scheme", ["iid", "shards", "dirichlet", "quantity"])
def test_every_example_goes_to_exactly_one_client_and_nobody_gets_none(
    scheme: str, data: st.DataObject, labels: Labels, alpha: float, seed: int
) -> None:
    clients = data.draw(st.integers(1, min(200, len(labels) // 2 if scheme == "shards" else len(labels))))
    partition = Partition(scheme, alpha=alpha)

    parts = split(labels, clients, seed, partition)

    assert_dealt_out(parts, clients, len(labels))
    assert digest(split(labels, clients, seed, partition)) == digest(parts)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), labels=labelled(), alpha=ALPHAS, seed=SEEDS)
@pytest.mark.parametrize("scheme", ["iid", "dirichlet"])
def test_sizes_of_iid_and_dirichlet_parts_differ_by_at_most_one(
    scheme: str, data: st.DataObject, labels: Labels, alpha: float, seed: int
) -> None:
    clients = data.draw(st.integers(1, min(200, len(labels))))

    parts = split(labels, clients, seed, Partition(scheme, alpha=alpha))

    assert max(sizes(parts)) - min(sizes(parts)) <= 1


@settings(deadline=None, max_examples=50)
@given(data=st.data(), seed=SEEDS)
def test_shards_differ_by_at_most_one_example_and_are_neighbours_by_label(data: st.DataObject, seed: int) -> None:
    labels = data.draw(labelled(least=2))
    clients = data.draw(st.integers(1, min(200, len(labels) // 2)))
    place = np.empty(len(labels), np.int64)
    place[np.argsort(labels, kind="stable")] = np.arange(len(labels))

    parts = split(labels, clients, seed, Partition("shards"))

    assert max(sizes(parts)) - min(sizes(parts)) <= 2
    for part in parts:
        gaps = np.diff(np.sort(place[part])) > 1
        assert gaps.sum() <= 1


@settings(deadline=None, max_examples=50)
@given(data=st.data(), labels=labelled(), seed=SEEDS)
def test_uniform_gives_everybody_as_many_of_each_of_the_first_labels_and_no_example_twice(
    data: st.DataObject, labels: Labels, seed: int
) -> None:
    kinds, held = np.unique(labels, return_counts=True)
    n_label = data.draw(st.none() | st.integers(1, len(kinds)))
    scarcest = int(held[:n_label].min())
    clients = data.draw(st.integers(1, min(200, scarcest)))
    n_data = data.draw(st.none() | st.integers(1, scarcest // clients))

    parts = split(labels, clients, seed, Partition("uniform", n_label=n_label, n_data=n_data))

    assert len(parts) == clients
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    wanted = dict.fromkeys(kinds[:n_label].tolist(), n_data or scarcest // clients)
    for part in parts:
        found, counts = np.unique(labels[part], return_counts=True)
        assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_seed_deals_otherwise(scheme: str) -> None:
    labels = np.arange(100) % 10

    assert digest(split(labels, 2, 0, Partition(scheme, **some(scheme)))) != digest(
        split(labels, 2, 1, Partition(scheme, **some(scheme)))
    )


def some(scheme: str) -> dict[str, int]:
    return {"n_data": 2} if scheme == "uniform" else {}


TEN_LABELS = np.tile(np.arange(10), 1000)


def label_counts(part: Indices) -> list[int]:
    counts: list[int] = np.bincount(TEN_LABELS[part], minlength=10).tolist()
    return counts


def test_iid_parts_look_like_the_whole() -> None:
    for part in split(TEN_LABELS, 10, 0, Partition()):
        assert min(label_counts(part)) > 60


def test_shards_leave_most_clients_with_two_labels() -> None:
    kinds = [int(np.count_nonzero(label_counts(part))) for part in split(TEN_LABELS, 100, 0, Partition("shards"))]

    assert set(kinds) <= {1, 2}
    assert kinds.count(2) > 70


def test_a_small_alpha_gives_a_client_one_label_and_a_large_one_the_data_s_proportions() -> None:
    small = split(TEN_LABELS, 10, 3, Partition("dirichlet", alpha=1e-3))
    large = split(TEN_LABELS, 10, 3, Partition("dirichlet", alpha=1e6))

    assert max(label_counts(small[0])) == 1000
    # The last client has what the others leave.
    assert all(60 < count < 140 for part in large[:-1] for count in label_counts(part))


def test_dirichlet_proportions_lie_around_those_of_the_data() -> None:
    labels = np.repeat([0, 1], [900, 100])

    first = [split(labels, 10, seed, Partition("dirichlet", alpha=1.0))[0] for seed in range(300)]

    rare = np.array([labels[part].mean() for part in first])
    # Of Beta(0.1, 0.9): mean 0.1, deviation 0.21; the mean of 300 has a deviation of 0.012.
    assert 0.05 < rare.mean() < 0.15
    assert 0.17 < rare.std() < 0.25


def test_a_small_alpha_gives_one_client_nearly_everything_and_a_large_one_equal_sizes() -> None:
    small, middle, large = (sizes(split(TEN_LABELS, 20, 0, Partition("quantity", alpha=a))) for a in (1e-3, 0.5, 1e9))

    assert sorted(small)[-2:] == [1, 10_000 - 19]
    assert max(middle) > 4 * np.median(middle)
    assert max(large) - min(large) <= 2


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-3, 1e15, sys.float_info.max])
@pytest.mark.parametrize("scheme", ["dirichlet", "quantity"])
def test_no_alpha_is_too_small_or_too_large(scheme: str, alpha: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        parts = split(TEN_LABELS, 200, 0, Partition(scheme, alpha=alpha))

    assert_dealt_out(parts, 200, len(TEN_LABELS))


SOME_LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7])
PINNED = {
    Partition(): "fad16c74970f62c2",
    Partition("uniform"): "cae94ea997330a1a",
    Partition("shards"): "4b565fda60171a56",
    Partition("dirichlet", alpha=0.5): "0a60023ec23fcb43",
    Partition("dirichlet", alpha=1e-3): "53f6de095068dd66",
    Partition("quantity", alpha=0.5): "e7bae05113d6b939",
}


@pytest.mark.parametrize("partition", PINNED, ids=lambda partition: f"{partition.scheme}-{partition.alpha:g}")
def test_the_parts_are_the_same_on_every_machine(partition: Partition) -> None:
    assert digest(split(np.tile(SOME_LABELS, 20), 7, 2**70 + 7, partition)) == PINNED[partition]


def test_the_iid_parts_are_those_of_earlier_versions() -> None:
    parts = split(np.zeros(10), 3, 7, Partition())

    assert [part.tolist() for part in parts] == [[3, 4, 6, 9], [0, 2, 8], [1, 5, 7]]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clients", [0, -1, 11])
def test_a_number_of_clients_that_cannot_be_is_one_clear_sentence(scheme: str, clients: int) -> None:
    sentence = refusal(np.zeros(10, np.uint8), clients, Partition(scheme))

    assert sentence == f"10 examples cannot be dealt out to {clients} clients; choose from 1 to 10"


@pytest.mark.parametrize(
    ("partition", "clients", "says"),
    [
        (Partition("uniform", n_data=3), 2, "label 7 has 4 examples, and 2 clients with 3 of each label want 6"),
        (Partition("uniform"), 5, "label 7 has 4 examples, and 5 clients with 1 of each label want 5"),
        (Partition("uniform", n_label=3), 2, "--n-label is 3, but the data have 2 labels"),
        (Partition("shards"), 6, "10 examples cannot be cut into 12 shards, 2 for each of 6 clients; choose at most 5"),
    ],
)
def test_too_few_examples_for_a_scheme_says_of_what(partition: Partition, clients: int, says: str) -> None:
    labels = np.repeat([7, 2], [4, 6])

    assert says in refusal(labels, clients, partition)


def test_uniform_asks_only_for_the_labels_it_deals_out() -> None:
    parts = split(np.repeat([7, 2], [1, 6]), 3, 0, Partition("uniform", n_label=1))

    assert sizes(parts) == [2, 2, 2]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"scheme": "random"},
            "there is no partition 'random'; choose one of iid, uniform, shards, dirichlet, quantity",
        ),
        ({"alpha": 0.0}, "--alpha is 0.0, wanted a finite number above 0"),
        ({"alpha": -1.0}, "--alpha is -1.0"),
        ({"alpha": math.nan}, "--alpha is nan"),
        ({"alpha": math.inf}, "--alpha is inf"),
        ({"scheme": "uniform", "n_label": 0}, "--n-label is 0, wanted at least 1"),
        ({"scheme": "uniform", "n_data": -5}, "--n-data is -5, wanted at least 1"),
        ({"n_label": 2}, "--n-label belongs to the partition uniform, not to iid"),
        ({"scheme": "shards", "n_data": 2}, "--n-data belongs to the partition uniform, not to shards"),
    ],
)
def test_a_partition_that_cannot_be_is_one_clear_sentence(settings: dict[str, object], says: str) -> None:
    with pytest.raises(StartupError) as caught:
        Partition(**settings)  # type: ignore[arg-type]

    assert says in str(caught.value)


def test_the_parts_do_not_depend_on_what_was_drawn_before() -> None:
    labels = SOME_LABELS.tolist()
    program = (
        "import numpy as np\nfrom client.datasets.partition import Partition, split\nnp.random.seed(5)\n"
        f"print([p.tolist() for p in split(np.array({labels}), 7, 1, Partition('dirichlet'))])"
    )

    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    here = split(SOME_LABELS, 7, 1, Partition("dirichlet"))
    assert elsewhere.strip() == str([part.tolist() for part in here])
