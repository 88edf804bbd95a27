"""What the master writes for TensorBoard: around a real S3 server, read by TensorBoard's own reader."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fedtier.evaluations import Evaluation
from fedtier.rounds import RoundManifest
from fedtier.store import RoundStore
from fedtier_cli.history import HistoryRound
from master_aggregator.scoreboard import Pauses, Scoreboard
from master_aggregator.summaries import Witnessed
from tests.builders import partial_bytes, trained, update_bytes
from tests.fedtier_cli.histories import DIGEST, history_round, part, publish, training
from tests.masters import Master, publish_initial, rules, store_of, wait_until
from tests.s3_servers import S3Server
from tests.scalars import read_scalars, steps

SHORT = Pauses(0.01, 0.05)
LONG = Pauses(3600, 3600)
PATIENCE = 30.0


@pytest.fixture
def store(s3_server: S3Server) -> RoundStore:
    return store_of(s3_server)


@contextmanager
def running(store: RoundStore, folder: Path, pauses: Pauses = SHORT) -> Iterator[Scoreboard]:
    scoreboard = Scoreboard(store, folder, pauses)
    scoreboard.start()
    try:
        yield scoreboard
    finally:
        scoreboard.stop(PATIENCE)


def write_once(store: RoundStore, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Start and end; return what is written then."""
    with running(store, folder, LONG):
        pass
    return read_scalars(folder)


def manifest_of(one: HistoryRound) -> RoundManifest:
    assert isinstance(one.published.manifest, RoundManifest)
    return one.published.manifest


def evaluation(number: int, accuracy: float, model: str = DIGEST) -> Evaluation:
    metrics = {"accuracy": accuracy, "loss": 1 - accuracy}
    return Evaluation(round=number, model_sha256=model, task="made", basis=DIGEST, metrics=metrics)


def is_written(folder: Path, tag: str, *rounds: int) -> bool:
    return folder.exists() and steps(folder, tag) == list(rounds)


def test_what_was_published_before_is_written_in_its_order(store: RoundStore, tmp_path: Path) -> None:
    publish(store, training(3, 5))

    found = write_once(store, tmp_path)

    assert [step for step, _ in found["clients/counted"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found["devices/client-2/loss"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found["global/accuracy"]] == [1, 2, 3, 4, 5]


def test_a_second_start_writes_nothing_twice(store: RoundStore, tmp_path: Path) -> None:
    publish(store, training(3, 4))
    first = write_once(store, tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()

    assert write_once(store, tmp_path) == first
    assert file.read_bytes() == content


def test_a_lost_folder_is_written_anew(store: RoundStore, tmp_path: Path) -> None:
    publish(store, training(3, 4))
    first = write_once(store, tmp_path / "scores")
    shutil.rmtree(tmp_path / "scores")

    assert write_once(store, tmp_path / "scores") == first


def test_a_round_that_is_told_is_written_with_what_only_its_process_knows(store: RoundStore, tmp_path: Path) -> None:
    rounds = training(2, 2)
    publish(store, rounds)
    scoreboard = Scoreboard(store, tmp_path, LONG)
    scoreboard.published(manifest_of(rounds[2]), Witnessed(0.25, {"round-over": 2}))

    scoreboard.start()
    scoreboard.stop(PATIENCE)

    found = read_scalars(tmp_path)
    assert found["clients/counted"] == [(1, 2.0), (2, 2.0)]
    assert (found["updates/late"], found["seconds/publishing"]) == ([(2, 2.0)], [(2, 0.25)])


def test_rounds_that_are_told_follow_without_a_look_at_s3(store: RoundStore, tmp_path: Path) -> None:
    rounds = training(2, 4)
    publish(store, rounds[:2])
    with running(store, tmp_path, LONG) as scoreboard:
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1))
        for one in rounds[2:]:  # S3 does not know of them
            scoreboard.published(manifest_of(one), Witnessed(0.0, {}))
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1, 2, 3, 4))


def test_quick_rounds_do_not_each_cost_a_look_for_evaluations(
    store: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    read = store.read_evaluation

    def counted(number: int, model_sha256: str) -> Evaluation | None:
        looks.append(number)
        return read(number, model_sha256)

    monkeypatch.setattr(store, "read_evaluation", counted)
    rounds = training(2, 4)
    publish(store, rounds[:2])
    with running(store, tmp_path, LONG) as scoreboard:
        for one in rounds[2:]:
            scoreboard.published(manifest_of(one), Witnessed(0.0, {}))
            wait_until(lambda one=one: is_written(tmp_path, "clients/counted", *range(1, one.round + 1)))  # type: ignore[misc]
        before_the_end = list(looks)

    assert before_the_end.count(1) <= 1
    assert looks.count(4) == 1


def test_a_gap_in_what_is_told_is_filled_from_s3(store: RoundStore, tmp_path: Path) -> None:
    rounds = training(2, 5)
    publish(store, rounds[:2])
    with running(store, tmp_path, LONG) as scoreboard:
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1))
        publish_after(store, rounds, 2)
        scoreboard.published(manifest_of(rounds[5]), Witnessed(0.5, {"round-over": 7}))
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1, 2, 3, 4, 5))
    assert read_scalars(tmp_path)["updates/late"] == [(5, 7.0)]


def publish_after(store: RoundStore, rounds: Sequence[HistoryRound], first: int) -> None:
    """Publish more rounds of a history whose first are published."""
    stored = store.read_head()
    assert stored is not None
    digest, etag = stored.head.manifest_sha256, stored.etag
    for one in rounds[first:]:
        previous = {"previous": {"round": one.round - 1, "manifest_sha256": digest}}
        manifest = RoundManifest.model_validate({**manifest_of(one).model_dump(by_alias=True), **previous})
        digest = store.put_manifest(one.round, manifest.to_json())
        head = stored.head.model_copy(update={"round": one.round, "manifest_sha256": digest, "attempt": one.round + 1})
        etag = store.swap_head(head, etag, own_content_is_success=False)


def test_an_evaluation_that_comes_later_is_written_once(store: RoundStore, tmp_path: Path) -> None:
    publish(store, [untested(one) for one in training(2, 3)])
    with running(store, tmp_path):
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1, 2, 3))
        for number in (3, 1, 2):
            store.put_evaluation(evaluation(number, number / 8))
            wait_until(lambda number=number: number in steps(tmp_path, "global/accuracy"))  # type: ignore[misc]

    assert read_scalars(tmp_path)["global/accuracy"] == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert write_once(store, tmp_path)["global/accuracy"] == [(1, 0.125), (2, 0.25), (3, 0.375)]


def untested(one: HistoryRound) -> HistoryRound:
    return HistoryRound(one.published, None)


def test_the_initial_model_has_its_evaluation_at_round_0(store: RoundStore, tmp_path: Path) -> None:
    rounds = training(1, 2)
    publish(store, [untested(one) for one in rounds])
    initial = manifest_of(rounds[1]).base.sha256
    for tested in (evaluation(1, 0.5), evaluation(0, 0.125, initial)):
        store.put_evaluation(tested)

    assert write_once(store, tmp_path)["global/accuracy"] == [(0, 0.125), (1, 0.5)]


def test_the_last_look_finds_an_evaluation_that_just_came(store: RoundStore, tmp_path: Path) -> None:
    publish(store, [history_round(0), history_round(1, [part("a")])])
    with running(store, tmp_path, LONG):
        wait_until(lambda: is_written(tmp_path, "clients/counted", 1))
        store.put_evaluation(evaluation(1, 0.5))

    assert read_scalars(tmp_path)["global/accuracy"] == [(1, 0.5)]


def test_many_evaluations_that_come_at_once_are_all_found(store: RoundStore, tmp_path: Path) -> None:
    publish(store, training(1, 60))

    assert [step for step, _ in write_once(store, tmp_path)["global/loss"]] == list(range(1, 61))


def test_a_document_that_is_no_evaluation_keeps_no_other_away(
    store: RoundStore, s3_server: S3Server, tmp_path: Path
) -> None:
    publish(store, training(1, 3))
    s3_server.client.put_object(Bucket=s3_server.bucket, Key=store.keys.evaluation(2, DIGEST), Body=b"not JSON")

    assert [step for step, _ in write_once(store, tmp_path)["global/loss"]] == [1, 3]


def test_the_file_of_another_federation_is_set_aside(store: RoundStore, s3_server: S3Server, tmp_path: Path) -> None:
    other = store_of(s3_server)
    publish(other, [*training(4, 7)[:7], changed(training(4, 7)[7])])
    publish(store, training(2, 7))
    write_once(other, tmp_path)

    found = write_once(store, tmp_path)

    assert [step for step, _ in found["devices/client-1/loss"]] == list(range(1, 8))
    assert "devices/client-3/loss" not in found
    assert (tmp_path / "set-aside-1.fedtier").exists()


def changed(one: HistoryRound) -> HistoryRound:
    """Return a round with another model."""
    manifest = manifest_of(one)
    model = manifest.model.model_copy(update={"sha256": "b" * 64})
    published = type(one.published)(one.round, DIGEST, manifest.model_copy(update={"model": model}))
    return HistoryRound(published, None)


def test_a_file_with_more_rounds_than_are_published_is_set_aside(
    store: RoundStore, s3_server: S3Server, tmp_path: Path
) -> None:
    other = store_of(s3_server)
    publish(other, training(2, 5))
    publish(store, training(2, 3))
    write_once(other, tmp_path)

    assert [step for step, _ in write_once(store, tmp_path)["clients/counted"]] == [1, 2, 3]


def test_a_folder_that_is_removed_meanwhile_comes_back_whole(store: RoundStore, tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    rounds = training(2, 4)
    publish(store, rounds[:3])
    with running(store, folder, LONG) as scoreboard:
        wait_until(lambda: is_written(folder, "clients/counted", 1, 2))
        shutil.rmtree(folder)
        publish_after(store, rounds, 3)
        scoreboard.published(manifest_of(rounds[3]), Witnessed(0.0, {}))
        scoreboard.published(manifest_of(rounds[4]), Witnessed(0.0, {}))
        wait_until(lambda: is_written(folder, "clients/counted", 1, 2, 3, 4))


def test_a_folder_that_cannot_be_written_is_tried_again(store: RoundStore, tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.write_text("a file is in the way")
    publish(store, training(2, 2))
    with capture_logs() as logged, running(store, folder):

        def of_it() -> list[str]:
            """Return what was said of the file; threads of other tests of this process may say other things."""
            return [line["event"] for line in logged if "TensorBoard" in line["event"]]

        wait_until(of_it)
        folder.unlink()
        wait_until(lambda: is_written(folder, "clients/counted", 1, 2))

    assert of_it() == ["the TensorBoard file waits; training goes on"]


# With a master around it.


@contextmanager
def master(store: RoundStore, folder: Path, chosen: Any = None) -> Iterator[Master]:
    scoreboard = Scoreboard(store, folder / "scores", LONG)
    with Master(store, folder / "state", chosen, scoreboard=scoreboard) as started:
        try:
            yield started
        finally:
            started.tier.close()


def send(master: Master, client_id: str, number: int = 1, **metrics: float) -> int:
    return master.send_update(client_id, update_bytes(trained(1), 10, metrics), number).status_code


def test_a_round_of_a_master_is_written_with_its_refusals(store: RoundStore, tmp_path: Path) -> None:
    publish_initial(store, tmp_path)
    with master(store, tmp_path, rules(threshold=2, clients=3)) as started:
        assert send(started, "client-0", loss=0.5, accuracy=0.25) == 200
        assert send(started, "stranger") == 409
        assert started.send_update("client-1", b"not safetensors").status_code == 422
        assert send(started, "client-1", loss=1.5) == 200
        started.await_round(2)
        assert [send(started, "client-2", 1) for _ in range(3)] == [409] * 3
        assert [send(started, f"client-{number}", 2) for number in (0, 1)] == [200, 200]
        started.await_round(3)

    found = read_scalars(tmp_path / "scores")
    assert found["devices/client-0/loss"] == [(1, 0.5)]
    assert found["mean/loss"] == [(1, 1.0)]
    assert found["spread/loss/deviation"] == [(1, 0.5)]
    assert found["clients/counted"] == [(1, 2.0), (2, 2.0)]
    assert found["updates/late"] == [(1, 0.0), (2, 3.0)]
    assert found["updates/refused"] == [(1, 2.0), (2, 0.0)]
    assert found["updates/refused/not-selected"] == [(1, 1.0)]
    assert found["updates/refused/not-safetensors"] == [(1, 1.0)]
    assert all(seconds >= 0 for _, seconds in found["seconds/publishing"])
    assert len(found["seconds/publishing"]) == 2


def test_a_repeated_update_is_no_refusal(store: RoundStore, tmp_path: Path) -> None:
    publish_initial(store, tmp_path)
    with master(store, tmp_path) as started:
        for client_id in ("a", "a", "b"):
            assert send(started, client_id) == 200
        started.await_round(2)

    found = read_scalars(tmp_path / "scores")
    assert (found["updates/late"], found["updates/refused"]) == ([(1, 0.0)], [(1, 0.0)])


def test_an_update_that_is_asked_to_come_again_is_no_refusal(store: RoundStore, tmp_path: Path) -> None:
    publish_initial(store, tmp_path)
    with master(store, tmp_path) as started:
        started.tier.pause(True)
        assert [send(started, "a") for _ in range(3)] == [503] * 3
        started.tier.pause(False)
        assert [send(started, client_id) for client_id in ("a", "b")] == [200, 200]
        started.await_round(2)

    found = read_scalars(tmp_path / "scores")
    assert (found["updates/late"], found["updates/refused"]) == ([(1, 0.0)], [(1, 0.0)])


def test_a_refused_partial_is_counted_by_the_worker_that_tells_its_clients(store: RoundStore, tmp_path: Path) -> None:
    publish_initial(store, tmp_path)
    with master(store, tmp_path) as started:
        plan = started.tier.status().plan
        body = partial_bytes(plan, {"a": (trained(1), 10), "b": (trained(2), 10)})
        assert started.send_partial(body).status_code == 200
        started.await_round(2)
        assert started.send_partial(body, 1, "other").status_code == 409
        assert [send(started, client_id, 2) for client_id in ("a", "b")] == [200, 200]
        started.await_round(3)

    assert read_scalars(tmp_path / "scores")["updates/late"] == [(1, 0.0), (2, 0.0)]
