from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fedtier.problems import StartupError
from fedtier.rounds import Head, RoundManifest, parse_manifest
from fedtier.serving.statedir import StateDirectory
from fedtier.store import RoundStore, StoreUnavailable
from master_aggregator import recovery
from master_aggregator.journal import Journal, find_journals
from master_aggregator.publisher import Publisher
from master_aggregator.records import CloseRecord, read_record, sealed
from tests.builders import sum_of, trained, update_bytes
from tests.masters import Hasty, Master, publish_initial, rules, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # killed on purpose

A, B, C = (update_bytes(trained(seed), 10 * seed) for seed in (1, 2, 3))


@pytest.fixture
def store(s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path) -> RoundStore:
    store = RoundStore(bucket, bucket_key)
    publish_initial(store, tmp_path)
    return store


@pytest.fixture
def start(store: RoundStore, tmp_path: Path) -> Iterator[Callable[..., Master]]:
    """Starts a master on a named state directory, by default the same one; ends the one before on it."""
    running: dict[str, Master] = {}

    def run(folder: str = "state", **changes: object) -> Master:
        if folder in running:
            running[folder].stop()
        running[folder] = Master(store, tmp_path / folder, rules(**changes))
        return running[folder].start()

    yield run
    for master in running.values():
        master.stop()


def head_of(store: RoundStore) -> Head:
    stored = store.read_head()
    assert stored is not None
    return stored.head


def manifest_of(store: RoundStore) -> RoundManifest:
    head = head_of(store)
    manifest = parse_manifest(store.read_manifest(head.round, head.manifest_sha256))
    assert isinstance(manifest, RoundManifest)
    return manifest


def count(master: Master, **bodies: bytes) -> None:
    for client_id, body in bodies.items():
        assert master.send_update(client_id, body, master.get_round()["round"]).status_code == 200


def journal_folder(state: Path) -> Path:
    (folder,) = find_journals(state).values()
    return folder


def copy_of(store: RoundStore) -> str | None:
    """Return the SHA-256 that the copy of the newest model says it has."""
    facts = store._bucket.facts(store.keys.copy)
    return None if facts is None else facts.metadata["fedtier-sha256"]


class Interrupted(SystemExit):
    """The process is killed here."""


def interrupted_at(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool = False
) -> threading.Event:
    """Kill whoever calls a function, before it does anything or after it did all; the event says that it happened."""
    real = getattr(owner, name)
    killed = threading.Event()

    def stop(*arguments: object, **options: object) -> object:
        if after:
            real(*arguments, **options)
        killed.set()
        raise Interrupted

    monkeypatch.setattr(owner, name, stop)
    return killed


# An empty state directory.


def test_an_empty_state_directory_claims_a_new_attempt(store: RoundStore, start: Callable[..., Master]) -> None:
    master = start()
    assert head_of(store).attempt == 2
    assert (master.get_round()["round"], master.get_round()["attempt"]) == (1, 2)


def test_the_attempt_is_claimed_before_its_journal_exists(
    store: RoundStore, start: Callable[..., Master], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupted_at(patch, Journal, "create")
        with pytest.raises(Interrupted):
            start()
    assert head_of(store).attempt == 2
    assert find_journals(tmp_path / "state") == {}
    assert start().get_round()["attempt"] == 3


def test_a_lost_disk_starts_a_new_attempt_at_the_open_round(store: RoundStore, start: Callable[..., Master]) -> None:
    count(start(), a=A)
    other = start("another disk")
    status = other.get_round()
    assert (status["round"], status["attempt"], status["counted"]) == (1, 3, 0)


def test_nothing_published_is_a_startup_error(
    s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match=r"nothing is published .* --web_model"):
        Master(RoundStore(bucket, bucket_key), tmp_path / "state").start()


# The same journal.


def test_the_same_journal_replays_sum_plan_and_contributors(store: RoundStore, start: Callable[..., Master]) -> None:
    first = start(deadline=3600.0)
    count(first, a=A)
    before = first.get_round()
    again = start(threshold=9, deadline=60.0, seed=5)  # the plan comes from the journal, never from flags
    after = again.get_round()
    assert {**before, "poll_after": 0} == {**after, "poll_after": 0}
    count(again, b=B)
    again.await_round(2)
    assert [c.client_id for c in manifest_of(store).contributors] == ["a", "b"]


def test_a_restart_gives_the_bytes_of_an_undisturbed_round(store: RoundStore, start: Callable[..., Master]) -> None:
    count(start(), a=A)
    again = start()
    count(again, b=B)
    again.await_round(2)
    plan = again.get_round()
    expected = sum_of(manifest_of(store), [(trained(1), 10), (trained(2), 20)])
    model = again.http.get("/v1/rounds/1/model").data
    weights = b"".join(chunk.tobytes() for chunk in expected.mean(expected.plan.tensors[0]))
    assert plan["base"]["bytes"] == len(model)
    assert weights in model


def test_a_pause_outlasts_a_restart(start: Callable[..., Master]) -> None:
    start().http.post("/v1/pause")
    assert start().get_round()["state"] == "paused"


def test_what_a_killed_process_was_receiving_is_swept_from_the_spool(start: Callable[..., Master]) -> None:
    master = start()
    (master.state.spool / "half-a-body").write_bytes(b"half")
    assert start().leftovers == []


# Closing and publishing, killed anywhere.


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (Journal, "close", False),
        (Journal, "close", True),
        (RoundStore, "put_model", False),
        (RoundStore, "put_model", True),
        (RoundStore, "put_manifest", True),
        (RoundStore, "swap_head", False),
        (RoundStore, "swap_head", True),
        (Journal, "create", False),
        (Journal, "create", True),
        (Journal, "remove", False),
        (RoundStore, "refresh_copy", False),
    ],
)
def test_a_master_killed_while_publishing_publishes_once(
    store: RoundStore,
    start: Callable[..., Master],
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    after: bool,
) -> None:
    master = start()
    wait_until(lambda: copy_of(store) is not None)
    with monkeypatch.context() as patch:
        killed = interrupted_at(patch, owner, name, after=after)
        count(master, a=A, b=B)
        assert killed.wait(30)
    again = start()
    again.await_round(2)
    history = list(store.history())
    assert [published.round for published in history] == [1, 0]
    assert [c.client_id for c in manifest_of(store).contributors] == ["a", "b"]
    wait_until(lambda: copy_of(store) == manifest_of(store).model.sha256)
    assert len(find_journals(again.state.path)) == 1
    count(again, c=C)


@pytest.mark.parametrize("left", [None, b"", b"what the disk had before"])
def test_a_model_that_was_lost_with_the_machine_is_made_again_as_it_was_to_be_published(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch, left: bytes | None
) -> None:
    master = start()
    with monkeypatch.context() as patch:
        killed = interrupted_at(patch, RoundStore, "put_model")
        count(master, a=A, b=B)
        assert killed.wait(30)
    folder = journal_folder(master.state.path)
    promised = read_record(folder / "close.json", CloseRecord)
    model = folder / "model.safetensors"
    model.unlink()  # it is another file than one that may lie on the shelf
    if left is not None:
        model.write_bytes(left)
    start().await_round(2)
    assert manifest_of(store).to_json().decode() == promised.manifest


def test_another_model_than_was_to_be_published_is_not_published(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    master = start()
    with monkeypatch.context() as patch:
        killed = interrupted_at(patch, RoundStore, "put_model")
        count(master, a=A, b=B)
        assert killed.wait(30)
    folder = journal_folder(master.state.path)
    promised = read_record(folder / "close.json", CloseRecord).model_copy(update={"model_sha256": "0" * 64})
    (folder / "close.json").write_bytes(sealed(promised.model_dump_json().encode()))
    with pytest.raises(StartupError, match=r"but 0{64} is to be published"):
        start()
    assert [published.round for published in store.history()] == [0]


def test_a_journal_without_its_plan_is_none_and_the_next_round_opens_under_heads_attempt(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    master = start()
    attempt = master.get_round()["attempt"]
    with monkeypatch.context() as patch:
        killed = interrupted_at(patch, Journal, "create")
        count(master, a=A, b=B)
        assert killed.wait(30)
    for half_made in (f"round-000002-attempt-{attempt + 1}", "round-000002-attempt-99"):
        (tmp_path / "state" / half_made).mkdir()
        (tmp_path / "state" / half_made / "plan.json.tmp").write_bytes(b"half a pl")
    again = start().get_round()
    assert (again["round"], again["attempt"]) == (2, attempt + 1)
    assert [path.name for path in (tmp_path / "state").glob("round-*")] == [f"round-000002-attempt-{attempt + 1}"]


def test_a_published_round_is_left_alone_and_the_next_opens_under_heads_attempt(
    store: RoundStore, start: Callable[..., Master]
) -> None:
    master = start()
    count(master, a=A, b=B)
    master.await_round(2)
    head = head_of(store)
    again = start()
    assert head_of(store) == head
    assert (again.get_round()["round"], again.get_round()["attempt"]) == (2, head.attempt)


def test_a_round_that_reached_its_threshold_before_the_kill_is_closed_at_start(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "close", lambda *_: None)
        count(start(), a=A, b=B)
    again = start()
    again.await_round(2)
    assert len(manifest_of(store).contributors) == 2


def test_a_round_that_the_operator_closed_is_closed_after_a_kill(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients were told that it is over, and do not come again."""
    master = start()
    count(master, a=A)
    with monkeypatch.context() as patch:
        killed = interrupted_at(patch, Journal, "close")
        assert master.http.post("/v1/rounds/1/close").status_code == 200
        assert killed.wait(30)
        assert master.send_update("b", B).json["type"] == "urn:fedtier:problem:round-over"  # type: ignore[index]
    again = start()
    again.await_round(2)
    assert [c.client_id for c in manifest_of(store).contributors] == ["a"]
    count(again, b=B)
    assert (again.get_round()["state"], again.get_round()["counted"]) == ("collecting", 1)


# S3 in trouble.


def test_while_s3_is_away_the_round_stays_closed_and_readyz_says_so(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("S3 at somewhere cannot be reached")

    master = start()
    with monkeypatch.context() as patch:
        patch.setattr(RoundStore, "put_model", away)
        count(master, a=A, b=B)
        wait_until(lambda: master.http.get("/readyz").status_code == 503)
        assert "S3 at somewhere cannot be reached" in master.http.get("/readyz").json["detail"]  # type: ignore[index]
        assert master.get_round()["state"] == "publishing"
        assert master.send_update("c", C).json["type"] == "urn:fedtier:problem:round-over"  # type: ignore[index]
    master.await_round(2)
    wait_until(lambda: master.http.get("/readyz").status_code == 200)


def test_pauses_of_a_round_that_waits_for_s3_double_up_to_five_seconds(
    store: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = RoundStore.put_model, iter(range(9))

    def put_model(mine: RoundStore, round_number: int, sha256: str, path: Path) -> None:
        if next(away, None) is not None:
            raise StoreUnavailable("S3 at somewhere cannot be reached")
        real(mine, round_number, sha256, path)

    monkeypatch.setattr(RoundStore, "put_model", put_model)
    rng = Hasty()
    with Master(store, tmp_path / "state", rng=rng) as master:
        count(master, a=A, b=B)
        master.await_round(2)
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert rng.pauses == [pytest.approx((pause / 2, pause)) for pause in longest]


def test_a_full_disk_after_the_swap_does_not_stop_the_federation(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    master = start()
    real, tries = type(master.tier._shelf).adopt, []

    def adopt(*arguments: object) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(type(master.tier._shelf), "adopt", adopt)
    count(master, a=A, b=B)
    master.await_round(2)
    assert len(tries) == 2


def test_a_master_whose_journal_is_removed_while_it_publishes_ends_with_a_sentence(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    master = start()
    real = RoundStore.put_model

    def put_model(mine: RoundStore, round_number: int, sha256: str, path: Path) -> None:
        shutil.rmtree(path.parent)
        real(mine, round_number, sha256, path)

    monkeypatch.setattr(RoundStore, "put_model", put_model)
    count(master, a=A, b=B)
    assert "round-000001-attempt-2 was removed while it was used" in master.deaths.get(timeout=30)


# Damage and other masters.


def test_a_damaged_journal_starts_a_new_attempt(
    store: RoundStore, start: Callable[..., Master], tmp_path: Path
) -> None:
    count(start(), a=A)
    next(journal_folder(tmp_path / "state").glob("commit-*.json")).write_bytes(b"torn")
    again = start()
    assert (again.get_round()["attempt"], again.get_round()["counted"]) == (3, 0)
    count(again, a=A)


@pytest.mark.parametrize("step", ["claim", "create"])
def test_a_kill_while_a_damaged_journal_is_given_up_is_no_other_master(
    store: RoundStore, start: Callable[..., Master], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    count(start(), a=A)
    (journal_folder(tmp_path / "state") / "plan.json").write_bytes(b"torn")
    with monkeypatch.context() as patch:
        interrupted_at(patch, *((RoundStore, "swap_head") if step == "claim" else (Journal, "create")))
        with pytest.raises(Interrupted):
            start()
    assert start().get_round()["counted"] == 0


def test_a_state_directory_of_a_lost_attempt_is_refused_with_what_to_do(start: Callable[..., Master]) -> None:
    start()
    start("taken over")
    with pytest.raises(StartupError, match=r"another master has taken over\. Stop the other one, or give this one"):
        start()


def test_the_older_of_two_masters_stops_at_its_next_publish(store: RoundStore, start: Callable[..., Master]) -> None:
    older = start()
    newer = start("newer")
    count(older, a=A, b=B)
    assert "another master has taken over" in older.deaths.get(timeout=30)
    assert head_of(store).round == 0
    count(newer, a=A, c=C)
    newer.await_round(2)
    assert [c.client_id for c in manifest_of(store).contributors] == ["a", "c"]


def test_two_masters_cannot_share_a_state_directory(store: RoundStore, start: Callable[..., Master]) -> None:
    master = start()
    with pytest.raises(StartupError, match="is in use by another process"):
        StateDirectory(master.state.path)


def test_a_state_directory_that_was_copied_back_is_refused(
    store: RoundStore, start: Callable[..., Master], tmp_path: Path
) -> None:
    master = start()
    count(master, a=A)
    shutil.copytree(tmp_path / "state", tmp_path / "backup")
    count(master, b=B)
    master.await_round(2)
    with pytest.raises(StartupError, match="another master has taken over"):
        start("backup")


def test_claiming_gives_up_when_head_keeps_moving(
    store: RoundStore, start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RoundStore.swap_head

    def contended(mine: RoundStore, new: Head, expected: str | None, *, own_content_is_success: bool) -> str:
        stored = mine.read_head()
        assert stored is not None
        ahead = stored.head.model_copy(update={"attempt": stored.head.attempt + 1})
        real(mine, ahead, stored.etag, own_content_is_success=False)
        return real(mine, new, expected, own_content_is_success=own_content_is_success)

    monkeypatch.setattr(RoundStore, "swap_head", contended)
    with pytest.raises(StartupError, match="head in S3 keeps moving"):
        start()
    assert head_of(store).attempt > recovery._CLAIM_TRIES


# The last round.


def test_a_finished_federation_says_so_once_its_copy_is_written(
    store: RoundStore, start: Callable[..., Master]
) -> None:
    master = start(final_round=1)
    count(master, a=A, b=B)
    assert master.finished.wait(30)
    assert copy_of(store) == manifest_of(store).model.sha256
    assert master.get_round()["state"] == "finished"
    assert start(final_round=1).finished.wait(30)


def test_a_finished_federation_with_more_rounds_goes_on(store: RoundStore, start: Callable[..., Master]) -> None:
    master = start(final_round=1)
    count(master, a=A, b=B)
    master.await_round(2)
    again = start(final_round=2)
    assert (again.get_round()["state"], again.get_round()["round"]) == ("collecting", 2)
    count(again, a=A, b=B)
    assert again.finished.wait(30)


def test_a_kill_between_the_last_round_and_going_on_is_no_other_master(
    start: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    master = start(final_round=1)
    count(master, a=A, b=B)
    master.await_round(2)
    with monkeypatch.context() as patch:
        interrupted_at(patch, Journal, "create")
        with pytest.raises(Interrupted):
            start(final_round=2)
    assert start(final_round=2).get_round()["state"] == "collecting"
