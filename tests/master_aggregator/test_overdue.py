"""The mark of a round that closes early: durable before anyone hears of it, and never lost for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.problems import StartupError
from master_aggregator.overdue import OverdueMark
from tests.answers import problem
from tests.builders import make_plan, partial_bytes, trained
from tests.file_sizes import room_for
from tests.master_aggregator.answers import plan_of
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server

FIRST, SECOND = make_plan(round=1, attempt=2), make_plan(round=2, attempt=3)


def test_it_names_one_round_and_attempt(tmp_path: Path) -> None:
    mark = OverdueMark(tmp_path)
    assert not mark.names(FIRST)
    for plan in (FIRST, SECOND):
        mark.set(plan)
        assert OverdueMark(tmp_path).names(plan)
    assert not mark.names(FIRST)


def test_a_mark_that_finds_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    mark = OverdueMark(tmp_path)
    mark.set(FIRST)
    with room_for(4), pytest.raises(OSError, match="File too large"):
        mark.set(SECOND)
    assert mark.names(FIRST)
    assert [path.name for path in tmp_path.iterdir()] == ["overdue"]


def test_a_round_that_is_named_already_takes_no_room(tmp_path: Path) -> None:
    mark = OverdueMark(tmp_path)
    mark.set(FIRST)
    with room_for(4):
        mark.set(FIRST)
    assert mark.names(FIRST)


def test_where_an_early_close_cannot_be_noted_nobody_hears_of_it(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=9, weight_limit=100)) as master:
        plan = plan_of(master)
        assert master.send_partial(partial_bytes(plan, {"a": (trained(1), 90)})).status_code == 200
        in_the_way = master.state.path / "overdue.tmp"
        in_the_way.mkdir()
        heavy = partial_bytes(plan, {"b": (trained(2), 11)})
        problem(master.send_partial(heavy), 503, "unavailable")
        problem(master.http.post("/v1/rounds/1/close"), 503, "unavailable")
        assert (master.get_round()["round"], master.get_round()["state"]) == (1, "collecting")

        in_the_way.rmdir()
        problem(master.send_partial(heavy), 409, "weight-limit")
        master.await_round(2)


def test_a_mark_that_cannot_be_read_is_one_clear_sentence_at_start(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    (tmp_path / "state" / "overdue").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"the state directory .* cannot be used: .*overdue"):
        Master(store, tmp_path / "state").start()
