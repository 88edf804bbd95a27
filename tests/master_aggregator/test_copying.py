"""The copy of the newest model: later than what is urgent, never further behind than a moment, and there at the end."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from fedtier.rounds import RoundPlan
from fedtier.serving.models import ModelShelf
from fedtier.serving.statedir import StateDirectory
from fedtier.store import RoundStore, StoreUnavailable
from master_aggregator.copying import CopyKeeper
from master_aggregator.insisting import Insistence
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import Workshop
from tests.builders import make_plan, trained, update_bytes
from tests.masters import Master, publish_initial, rules, wait_until

HUGE = 10**13


class Copies:
    """Stands for the store: says which rounds' models were copied, and may be held or away."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.away = False

    def refresh_copy(self, round_number: int, sha256: str, path: Path) -> None:
        self.begun.set()
        assert self.go_on.wait(30)
        if self.away:
            raise StoreUnavailable("S3 at somewhere cannot be reached")
        self.rounds.append(round_number)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.copies = Copies()
        self.finished = threading.Event()
        state = StateDirectory(folder)
        shelf = ModelShelf(state.models, lambda _, destination: destination.touch())
        workshop = Workshop(rules(), state, shelf, lambda: datetime.now(UTC), _die)
        insistence = Insistence("the copy waits", workshop, MasterMetrics(), random.Random(0))
        self.keeper = CopyKeeper(cast(RoundStore, self.copies), workshop, insistence, self.finished.set)

    @contextmanager
    def keeping(self) -> Iterator[threading.Thread]:
        """Keep one copy on a thread."""
        thread = threading.Thread(target=self.keeper.keep)
        thread.start()
        try:
            yield thread
        finally:
            self.copies.away = False
            self.keeper.finish(0)
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state")


def plan_after(round_number: int, *, size: int = 1, **changes: Any) -> RoundPlan:
    """Return the plan of the round that starts from a published round's model of so many bytes."""
    plan = make_plan(round=round_number + 1, **changes)
    return plan.model_copy(update={"base": plan.base.model_copy(update={"bytes": size})})


def test_a_large_model_is_not_copied_while_everyone_fetches_it(bench: Bench) -> None:
    bench.keeper.want(plan_after(1, size=HUGE))
    with bench.keeping() as thread:
        thread.join(0.2)
        assert bench.copies.rounds == []
    assert bench.copies.rounds == [1]


def test_rounds_that_follow_each_other_faster_share_a_copy(bench: Bench) -> None:
    bench.copies.go_on.clear()
    bench.keeper.want(plan_after(1))
    with bench.keeping():
        assert bench.copies.begun.wait(30)
        for published in (2, 3):
            bench.keeper.want(plan_after(published))
        bench.copies.go_on.set()
    bench.keeper.keep()
    assert bench.copies.rounds == [1, 3]


def test_the_last_round_s_model_is_copied_without_delay_and_then_all_is_finished(bench: Bench) -> None:
    bench.keeper.want(plan_after(4, size=HUGE, final_round=4))
    assert not bench.finished.is_set()
    bench.keeper.keep()
    assert bench.copies.rounds == [4]
    assert bench.finished.is_set()


def test_the_end_hurries_a_copy_and_waits_for_it(bench: Bench) -> None:
    bench.keeper.want(plan_after(1, size=HUGE))
    with bench.keeping():
        bench.keeper.finish(30)
        assert bench.copies.rounds == [1]


def test_the_end_does_not_wait_for_an_s3_that_is_away(bench: Bench) -> None:
    bench.copies.away = True
    bench.keeper.want(plan_after(1))
    with bench.keeping():
        bench.keeper.finish(3600)
        wait_until(lambda: bench.keeper.trouble() == "the copy waits: S3 at somewhere cannot be reached")
    assert bench.copies.rounds == [1]
    assert bench.keeper.trouble() is None


def test_when_s3_is_back_the_newest_model_is_copied_and_none_before_it(bench: Bench) -> None:
    bench.copies.away = True
    bench.keeper.want(plan_after(1))
    with bench.keeping():
        wait_until(lambda: bench.keeper.trouble() is not None)
        bench.keeper.want(plan_after(2, final_round=2))
    assert bench.copies.rounds == [2]
    assert not bench.keeper.wanted()
    assert bench.finished.is_set()


@pytest.mark.system
def test_rounds_go_on_while_the_copy_cannot_be_written_and_it_catches_up(
    s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("S3 at somewhere cannot be reached")

    store = RoundStore(bucket, bucket_key)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state") as master:
        with monkeypatch.context() as patch:
            patch.setattr(RoundStore, "refresh_copy", away)
            for number in (1, 2):
                for client_id in ("a", "b"):
                    body = update_bytes(trained(number))
                    assert master.send_update(client_id, body, number).status_code == 200
                master.await_round(number + 1)
            wait_until(lambda: master.http.get("/readyz").status_code == 503)
        wait_until(lambda: newest_copy(store) == "2")
        wait_until(lambda: master.http.get("/readyz").status_code == 200)


def newest_copy(store: RoundStore) -> str | None:
    facts = store._bucket.facts(store.keys.copy)
    return None if facts is None else facts.metadata["fedtier-round"]


def _die(reason: str) -> NoReturn:
    raise AssertionError(reason)
