"""A deployment follows from costs as docs/scaling.md says, and that page shows what the results give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sizing
from benchmarks.sizing_model import (
    BATCH_MAX,
    Costs,
    Line,
    Prices,
    Scenario,
    contributors_per_partial,
    most_in_a_partial,
    s3_requests,
    size,
    tiers_between,
    updates_per_second,
)

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
COSTS = Costs(
    update=Line(2.0, 1.0),
    download=Line(1.0, 0.5),
    partial=Line(10.0, 5.0),
    poll=0.5,
    idle_cores=0.0,
    contributor=0.0,
    partial_bytes=1.25,
    worker_memory=Line(80.0, 4.0),
    master_memory=Line(100.0, 6.0),
    connection_kilobytes=10.0,
    manifest_bytes=164.0,
    header_bytes=180.0,
    contributor_kilobytes=2.0,
)
SCENARIO = Scenario(clients=6000, megabytes=2.0, round_seconds=600.0, client_megabits=50.0, use=0.5)


def test_a_deployment_by_hand() -> None:
    found = size(COSTS, SCENARIO, Prices(instance_hour=1.0, balancer_hour=0.6, balancer_gigabyte=0.1))
    # 10 updates a second, 4 + 2 core-ms each, and 200 polls a second of half a core-ms: 0.16 cores at 50 %.
    assert found.workers_for_cores == 1
    # 10 a second for 2 x 0.32 s hold 6.4 of 248 slots.
    assert found.workers_for_slots == 1
    assert (found.workers, found.middle, found.depth, found.instances) == (2, (), 2, 2)
    assert (found.in_gigabits, found.out_gigabits) == pytest.approx((0.16, 0.16))
    # A partial takes the master 20 ms: 10 a second do not even meet.
    assert found.contributors_per_partial == 1.0
    assert found.master_cores == pytest.approx(0.2)
    assert found.master_megabytes_per_second == pytest.approx(10 * 2 * 1.25)
    assert (found.puts, found.gets) == (4, 2)
    assert found.stored_megabytes == pytest.approx(2 + 6000 * 164e-6)
    assert found.servers == pytest.approx(2 * 600 / 3600)
    assert found.balancer == pytest.approx(0.6 / 6 + 2 * 12 * 0.1)
    assert found.zones == pytest.approx(6000 * 2 * 1.25 / 1000 * 0.02 * 2 / 3)
    assert found.internet == pytest.approx(12 * 0.09)
    assert found.rounds_per_month == pytest.approx(4320)


def test_twice_the_clients_in_twice_the_time_take_the_same_servers_but_for_polls() -> None:
    costs = replace(COSTS, poll=0.0, connection_kilobytes=0.0)
    longer = replace(SCENARIO, clients=2 * SCENARIO.clients, round_seconds=2 * SCENARIO.round_seconds)
    once, twice = size(costs, SCENARIO, Prices()), size(costs, longer, Prices())
    assert (once.workers, once.middle, once.instances) == (twice.workers, twice.middle, twice.instances)
    assert once.in_gigabits == twice.in_gigabits


def test_partials_hold_more_the_more_comes_up_to_a_batch() -> None:
    held = [contributors_per_partial(COSTS, 2.0, rate, BATCH_MAX) for rate in (1, 49, 100, 1000, 100_000)]
    assert held == pytest.approx([1, 1, 2, 20, BATCH_MAX])


def test_a_master_that_full_batches_keep_busy_gets_a_tier_below() -> None:
    most = updates_per_second(COSTS, SCENARIO, BATCH_MAX)
    just = replace(SCENARIO, clients=int(most * SCENARIO.round_seconds))
    assert tiers_between(COSTS, just) == ()
    assert tiers_between(COSTS, replace(just, clients=just.clients + 1000)) == (2,)
    assert tiers_between(COSTS, replace(just, clients=just.clients * 31)) == (31,)


def test_a_partial_stands_for_as_many_as_its_header_has_room_for() -> None:
    # 2**24 bytes, 180 for each.
    assert [most_in_a_partial(COSTS, tier) for tier in range(4)] == [64, 4096, 93_206, 93_206]
    most = updates_per_second(COSTS, SCENARIO, 93_206)
    with pytest.raises(ValueError, match="no tree of workers takes"):
        tiers_between(COSTS, replace(SCENARIO, clients=int(1.1 * most * SCENARIO.round_seconds)))


def test_contributors_that_no_tree_takes_are_refused() -> None:
    costs = replace(COSTS, contributor=1.0)
    with pytest.raises(ValueError, match="no tree of workers takes"):
        size(costs, replace(SCENARIO, clients=10_000_000), Prices())


def test_polls_that_take_a_whole_core_are_refused() -> None:
    with pytest.raises(ValueError, match="polls alone take"):
        size(replace(COSTS, poll=5.0), SCENARIO, Prices())


def test_a_large_model_is_sent_in_parts_and_copied_within_s3() -> None:
    assert s3_requests(8.0) == (1 + 1 + 2, 2)
    assert s3_requests(64.0) == (1 + (1 + 2) + 2, 2)
    assert s3_requests(400.0) == ((6 + 2) + (3 + 2) + 2, 2)
    assert s3_requests(2000.0) == ((30 + 2) + (15 + 2) + 2, 2)


def test_a_large_model_takes_whole_instances_for_its_bytes() -> None:
    found = size(COSTS, replace(SCENARIO, megabytes=400.0), Prices())
    assert found.instances - 1 >= found.in_gigabits / 3.75 / 0.5


def test_costs_are_lines_through_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "scale-all.json").write_text(json.dumps({"machine": {"cores": 2}, "records": records()}))
    found, machine = sizing.read_results(tmp_path)
    costs = sizing.costs_of(found)
    assert (costs.update.fixed, costs.update.per_megabyte) == pytest.approx((2.0, 1.0))
    assert costs.update.at(10.0) == pytest.approx(12.0)
    assert costs.partial.fixed == pytest.approx(10.0 - 4 * 0.01)
    assert costs.connection_kilobytes == pytest.approx(1000 * 10 / 90)
    assert set(sizing.tables(found, machine)) == {"machine", "costs", "servers", "network", "dollars", "prices"}


def test_costs_need_two_sizes() -> None:
    with pytest.raises(SystemExit, match="records of 'updates' with two different megabytes are needed"):
        sizing.costs_of([record for record in records() if record.get("megabytes") != 11.0])


def records() -> list[dict[str, Any]]:
    return [
        *(
            {
                "benchmark": "updates",
                "depth": 2,
                "workers": 2,
                "megabytes": megabytes,
                "worker_core_ms_per_update": 2.0 + megabytes,
                "worker_core_ms_per_download": 1.0,
                "master_core_ms_per_partial": 10.0,
                "contributors_per_partial": 4.0,
                "partial_bytes_per_model_byte": 1.25,
                "worker_pss_megabytes": 200.0,
                "master_pss_megabytes": 150.0,
            }
            for megabytes in (1.0, 11.0)
        ),
        *(
            {
                "benchmark": "idle",
                "clients": clients,
                "worker_core_ms_per_poll": 0.5,
                "worker_cores_without_clients": 0.1,
                "workers": 1,
                "worker_pss_megabytes": 80.0 + clients / 9,
            }
            for clients in (10, 100)
        ),
        *(
            {
                "benchmark": "contributors",
                "clients": clients,
                "partial_header_core_us_per_contributor": 10.0,
                "manifest_bytes_per_contributor": 164.0,
                "partial_header_bytes_per_contributor": 180.0,
                "master_pss_megabytes": 150.0,
            }
            for clients in (10, 100)
        ),
    ]


def test_a_table_without_a_place_is_an_error() -> None:
    page = "before\n<!-- sizing: one -->\nold\n<!-- end -->\nafter\n"
    assert sizing.with_tables(page, {"one": "new"}) == page.replace("old", "new")
    with pytest.raises(SystemExit, match="no place for: two"):
        sizing.with_tables(page, {"one": "new", "two": "new"})


def test_the_page_shows_what_the_results_give() -> None:
    found = sizing.tables(*sizing.read_results(PAGE.parents[1] / "benchmarks" / "results"))
    assert sizing.with_tables(PAGE.read_text(), found) == PAGE.read_text()
