from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.bucket import connect
from fedtier.evaluations import Confusion
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.history import HistoryRound, published_rounds, read_history, read_round
from fedtier_cli.metrics import METRICS
from fedtier_cli.series import federation_history
from tests.fedtier_cli.histories import DIGEST, history_round, part, publish, training
from tests.masters import store_of
from tests.s3_servers import S3Server

SAMPLED = [
    history_round(0, tested={"loss": 2.0}),
    history_round(1, [part("client-10", 30, loss=1.0, accuracy=0.5), part("client-2", 10, loss=3.0)]),
    history_round(2, [part("client-2", 20, loss=0.5, other=7.0)], tested={"loss": 0.75, "accuracy": 0.9}),
]


def test_each_device_has_its_values_in_the_rounds_it_was_in() -> None:
    history = federation_history(SAMPLED)
    assert history.rounds.tolist() == [0, 1, 2]
    assert history.devices == ("client-2", "client-10")
    np.testing.assert_array_equal(history.examples, [[0, 0], [10, 30], [20, 0]])
    np.testing.assert_array_equal(history.metrics["loss"].devices, [[np.nan, np.nan], [3, 1], [0.5, np.nan]])
    assert history.counted.tolist() == [0, 2, 1]


def test_the_mean_is_weighted_by_the_examples_of_those_who_report_the_metric() -> None:
    metrics = federation_history(SAMPLED).metrics
    np.testing.assert_allclose(metrics["loss"].mean, [np.nan, (10 * 3 + 30 * 1) / 40, 0.5])
    np.testing.assert_allclose(metrics["accuracy"].mean, [np.nan, 0.5, np.nan])


def test_deviation_and_percentiles_count_each_device_once() -> None:
    loss = federation_history(SAMPLED).metrics["loss"]
    np.testing.assert_allclose(loss.deviation, [np.nan, 1.0, 0.0])
    np.testing.assert_allclose(loss.low, [np.nan, 1.2, 0.5])
    np.testing.assert_allclose(loss.median, [np.nan, 2.0, 0.5])
    np.testing.assert_allclose(loss.high, [np.nan, 2.8, 0.5])


def test_test_results_and_seconds_stand_at_their_rounds() -> None:
    history = federation_history(SAMPLED)
    np.testing.assert_array_equal(history.metrics["loss"].test, [2, np.nan, 0.75])
    np.testing.assert_array_equal(history.metrics["accuracy"].test, [np.nan, np.nan, 0.9])
    np.testing.assert_array_equal(history.seconds, [np.nan, 60, 60])


def test_metrics_that_tasks_mean_different_things_by_are_left_out() -> None:
    assert set(federation_history(SAMPLED).metrics) == set(METRICS) == {"loss", "accuracy"}


def test_rounds_without_metrics_are_told_from_rounds_with_some() -> None:
    history = federation_history([history_round(0), history_round(1, [part("a"), part("b")])])
    for metric in history.metrics.values():
        assert not metric.is_reported
        assert not metric.is_tested
    assert history.counted.tolist() == [0, 2]


LOSSES = st.floats(0, 1e6)
PARTS = st.dictionaries(st.integers(0, 20), st.tuples(LOSSES, st.integers(1, 10_000)), min_size=1)


@given(PARTS)
def test_the_mean_and_the_percentiles_lie_within_the_devices(parts: dict[int, tuple[float, int]]) -> None:
    made = [part(f"client-{number}", examples, loss=loss) for number, (loss, examples) in parts.items()]
    loss = federation_history([history_round(1, made)]).metrics["loss"]
    values = [one.metrics["loss"] for one in made]
    assert min(values) <= loss.low[0] <= loss.median[0] <= loss.high[0] <= max(values)
    assert min(values) * (1 - 1e-12) <= loss.mean[0] <= max(values) * (1 + 1e-12)


@given(st.permutations(training(4, 6)))
def test_the_order_in_which_rounds_come_does_not_count(shuffled: list[HistoryRound]) -> None:
    ordered, other = federation_history(training(4, 6)), federation_history(shuffled)
    assert (ordered.rounds.tolist(), ordered.devices) == (other.rounds.tolist(), other.devices)
    for name in METRICS:
        np.testing.assert_array_equal(ordered.metrics[name].devices, other.metrics[name].devices)
        np.testing.assert_array_equal(ordered.metrics[name].test, other.metrics[name].test)


@pytest.fixture(scope="module")
def store(s3_server: S3Server) -> RoundStore:
    """Twenty rounds, every fourth of them evaluated."""
    store = store_of(s3_server)
    publish(store, training(3, 20, test_every=4))
    return store


def test_rounds_come_oldest_first_with_the_evaluations_that_there_are(store: RoundStore) -> None:
    found = read_history(store)
    assert [one.round for one in found] == list(range(21))
    assert [one.round for one in found if one.evaluation is not None] == [0, 4, 8, 12, 16, 20]
    assert all(one.evaluation.round == one.round for one in found if one.evaluation is not None)


def test_what_is_read_is_what_was_published(store: RoundStore) -> None:
    made, read = federation_history(training(3, 20, test_every=4)), federation_history(read_history(store))
    np.testing.assert_array_equal(made.metrics["loss"].devices, read.metrics["loss"].devices)
    np.testing.assert_array_equal(made.metrics["accuracy"].test, read.metrics["accuracy"].test)


def test_rounds_after_the_last_one_wanted_are_left_out(store: RoundStore) -> None:
    assert [one.round for one in read_history(store, maxlen=2)] == [0, 1, 2]


def test_where_nothing_is_published_that_is_the_sentence(s3_server: S3Server) -> None:
    with pytest.raises(StartupError, match=r"nothing is published at tests/.* yet; check --bucket-name"):
        read_history(store_of(s3_server))


def test_of_the_newest_rounds_no_others_are_read(store: RoundStore) -> None:
    assert [one.round for one in read_history(store, newest=3)] == [18, 19, 20]
    assert [one.round for one in published_rounds(store, 10, newest=3)] == [8, 9, 10]


def test_confusion_matrices_of_a_history_are_not_kept_in_memory_but_that_of_one_round_is(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    publish(store, [history_round(0, tested={"loss": 1.0})])
    kept = read_round(store, 0).evaluation
    assert kept is not None
    confusion = Confusion(labels=("cat", "dog"), counts=((1, 2), (3, 4)))
    store.put_evaluation(kept.model_copy(update={"confusion": confusion}))
    [one] = read_history(store)
    assert one.evaluation == kept
    whole = read_round(store, None).evaluation
    assert whole is not None
    assert whole.confusion == confusion


@pytest.mark.usefixtures("s3_environment")
def test_an_evaluation_that_is_none_is_a_sentence_that_says_how_to_mend_it(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    publish(store, [history_round(0, tested={"loss": 1.0})])
    key = store.keys.evaluation(0, DIGEST)
    connect().put_object(Bucket=s3_server.bucket, Key=key, Body=b"{")
    with pytest.raises(StartupError, match=r"is no evaluation: .*; fedtier evaluate writes it anew"):
        read_history(store)
