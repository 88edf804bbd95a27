from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.evaluations import Evaluation
from fedtier.rounds import Contributor, RoundManifest
from master_aggregator.event_records import Models, NotOurs, evaluation_record, heading, read_stamp, round_record
from master_aggregator.summaries import (
    MAX_DEVICE_SCALARS,
    MAX_METRICS,
    Scalars,
    Witnessed,
    evaluation_scalars,
    round_scalars,
    tag_part,
)
from tests.fedtier_cli.histories import DIGEST, history_round, part

MODELS = Models("a" * 64, "b" * 64)


def manifest(*parts: Contributor) -> RoundManifest:
    found = history_round(3, parts).published.manifest
    assert isinstance(found, RoundManifest)
    return found


def scalars(*parts: Contributor, witnessed: Witnessed | None = None) -> dict[str, float]:
    return dict(round_scalars(manifest(*parts), witnessed).values)


def test_each_device_has_what_it_reported_and_no_more() -> None:
    values = scalars(part("a", 10, loss=2.0, accuracy=0.5), part("b", 30, loss=1.0), part("c", 5, f1=0.25))

    devices = {tag: value for tag, value in values.items() if tag.startswith("devices/")}
    assert devices == {
        **{"devices/a/loss": 2.0, "devices/a/accuracy": 0.5, "devices/a/examples": 10},
        **{"devices/b/loss": 1.0, "devices/b/examples": 30},
        **{"devices/c/f1": 0.25, "devices/c/examples": 5},
    }


def test_mean_and_deviation_are_weighted_by_examples_of_those_that_have_the_metric() -> None:
    values = scalars(part("a", 10, loss=2.0), part("b", 30, loss=1.0), part("c", 1000))

    assert values["mean/loss"] == 1.25
    deviation = math.sqrt((10 * 0.75**2 + 30 * 0.25**2) / 40)
    assert values["spread/loss/deviation"] == pytest.approx(deviation)
    assert values["spread/loss/low"] == pytest.approx(1.25 - deviation)
    assert values["spread/loss/high"] == pytest.approx(1.25 + deviation)


def test_the_seconds_are_those_between_the_times_of_the_manifest() -> None:
    opened = manifest(part("a"))
    times = {
        "closed_at": opened.opened_at + timedelta(seconds=4),
        "published_at": opened.opened_at + timedelta(seconds=4.5),
    }
    values = round_scalars(opened.model_copy(update=times)).values

    assert (values["seconds/collecting"], values["seconds/averaging"], values["seconds/round"]) == (4, 0.5, 4.5)


def test_late_updates_and_other_refusals_are_told_apart() -> None:
    values = scalars(part("a"), witnessed=Witnessed(0.5, {"round-over": 3, "not-selected": 2, "not-finite": 1}))

    told = {tag: value for tag, value in values.items() if tag.startswith(("updates/", "seconds/publishing"))}
    assert told == {
        **{"updates/late": 3, "updates/refused": 3, "seconds/publishing": 0.5},
        **{"updates/refused/not-selected": 2, "updates/refused/not-finite": 1},
    }


def test_a_round_that_was_not_witnessed_has_no_numbers_made_up_for_it() -> None:
    values = scalars(part("a"))

    assert not [tag for tag in values if tag.startswith("updates/") or tag == "seconds/publishing"]


def test_an_evaluation_is_of_the_global_model() -> None:
    metrics = {"loss": 0.5, "accuracy": 0.75, "f1 macro": 0.5}
    evaluation = Evaluation(round=3, model_sha256=DIGEST, task="made", basis=DIGEST, metrics=metrics)

    assert evaluation_scalars(evaluation).values == {
        "global/loss": 0.5,
        "global/accuracy": 0.75,
        "global/f1_macro": 0.5,
    }


@pytest.mark.parametrize(
    ("name", "tag"), [("top-5.acc", "top-5.acc"), ("a/b c", "a_b_c"), ("", "_"), ("ä" * 100, "_" * 64)]
)
def test_a_metrics_name_becomes_a_part_of_a_tag(name: str, tag: str) -> None:
    assert tag_part(name) == tag


def test_a_metric_named_examples_does_not_pass_for_the_examples() -> None:
    own = Contributor(client_id="a", num_examples=10, sha256=DIGEST, metrics={"examples": 99.0})
    assert scalars(own)["devices/a/examples"] == 10


def test_of_two_metrics_with_one_tag_one_is_shown() -> None:
    metrics = Contributor(client_id="a", num_examples=1, sha256=DIGEST, metrics={"x y": 1.0, "x/y": 2.0})
    assert scalars(metrics)["devices/a/x_y"] in {1.0, 2.0}


def test_loss_and_accuracy_have_room_however_many_metrics_there_are() -> None:
    many = {f"a{number}": 1.0 for number in range(200)}
    parts = [part(f"client-{number:03}", 1, loss=1.0, accuracy=1.0, **many) for number in range(500)]

    found = round_scalars(manifest(*parts))

    devices = [tag for tag in found.values if tag.startswith("devices/")]
    assert len(devices) == MAX_DEVICE_SCALARS
    assert len([tag for tag in found.values if tag.startswith("mean/")]) == MAX_METRICS
    assert {f"devices/client-499/{name}" for name in ("loss", "accuracy", "examples")} <= set(devices)
    assert {"mean/loss", "mean/accuracy"} <= found.values.keys()
    assert found.left_out == 500 * 203 - MAX_DEVICE_SCALARS + 202 - MAX_METRICS


def test_five_hundred_devices_fit_in_a_record_of_a_hundred_kilobytes() -> None:
    parts = [part(f"client-{number}", 600, loss=0.5, accuracy=0.75) for number in range(500)]
    found = round_scalars(manifest(*parts))

    assert found.left_out == 0
    assert len(round_record(3, 0.0, MODELS, found.values)) < 100_000


@given(
    st.lists(
        st.tuples(
            st.integers(1, (1 << 63) - 1),
            st.dictionaries(st.text(max_size=80), st.floats(allow_nan=False, allow_infinity=False), max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_clients_report_becomes_one_record_of_finite_values(
    reports: list[tuple[int, dict[str, float]]],
) -> None:
    parts = [
        Contributor.model_construct(client_id=f"c{number}", num_examples=examples, sha256=DIGEST, metrics=metrics)
        for number, (examples, metrics) in enumerate(reports)
    ]
    one = manifest(part("a")).model_copy(update={"contributors": tuple(parts)})

    found: Scalars = round_scalars(one, Witnessed(0.0, {}))

    stamp = read_stamp(round_record(3, 1.5, MODELS, found.values))
    assert (stamp.kind, stamp.round, stamp.wall_time, stamp.models) == ("round", 3, 1.5, MODELS)
    assert all(abs(value) <= 3.4028234663852886e38 for value in found.values.values())


@pytest.mark.parametrize("data", [b"\xff\xff", b"", evaluation_record(3, 0, {"other/tag": 1.0})])
def test_what_is_no_record_of_ours_is_known_as_such(data: bytes) -> None:
    with pytest.raises(NotOurs):
        read_stamp(data)


def test_a_file_begins_with_the_formats_version_and_the_layout() -> None:
    assert [read_stamp(record).kind for record in heading(1.0)] == ["version", "layout"]
