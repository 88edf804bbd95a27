"""A deployment follows from costs as docs/scaling.md says, and that page shows what the results give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sizing
from benchmarks.sizing_inputs import Costs, Curve, Prices, Scenario
from benchmarks.sizing_model import s3_requests, size
from benchmarks.sizing_partials import (
    BATCH_MAX,
    contributors_per_partial,
    most_in_a_partial,
    tiers_between,
    updates_per_second,
)
from benchmarks.sizing_records import costs_of, partial_bytes, read_records
from benchmarks.sizing_traffic import traffic

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def line(fixed: float, per_megabyte: float) -> Curve:
    return Curve(((0.0, fixed), (1.0, fixed + per_megabyte)))


COSTS = Costs(
    update=line(2.0, 1.0),
    download=line(1.0, 0.5),
    partial=line(10.0, 5.0),
    poll=0.5,
    idle_cores=0.0,
    contributor=0.0,
    partial_bytes=Curve(((1.0, 1.25),)),
    worker_memory=line(80.0, 4.0),
    master_memory=line(100.0, 6.0),
    connection_kilobytes=10.0,
    manifest_bytes=164.0,
    header_bytes=180.0,
    contributor_kilobytes=2.0,
)
SCENARIO = Scenario(clients=6000, megabytes=2.0, round_seconds=600.0, client_megabits=50.0, use=0.5)
PRICES = Prices()


def test_a_deployment_by_hand() -> None:
    found = size(COSTS, SCENARIO, Prices(instance_hour=1.0, balancer_hour=0.6, balancer_gigabyte=0.1))
    # 10 updates a second, 4 + 2 core-ms each, and 200 polls a second of half a core-ms: 0.16 cores at 50 %.
    assert found.workers_for_cores == 1
    # 10 a second for 2 x 0.32 s hold 6.4 of 248 slots.
    assert found.workers_for_slots == 1
    assert (found.workers, found.middle, found.depth, found.instances) == (2, (), 2, 2)
    # 20 MB a second of updates, as much of models, and what two workers get once in 600 s.
    partial = 2 * 1.25 + 180e-6
    models = 2 * 2 / 600
    assert found.traffic.into_workers == pytest.approx(20 + models)
    assert found.traffic.out_of_workers == pytest.approx(20 + 10 * partial)
    assert found.traffic.written == pytest.approx(20 + models + 10 * partial)
    # A partial takes the master 20 ms: 10 a second do not even meet.
    assert found.traffic.held == (1.0,)
    assert found.master_cores == pytest.approx(0.2)
    assert found.traffic.into_master == pytest.approx(10 * partial)
    assert found.traffic.out_of_master == pytest.approx(models)
    assert found.traffic.spread_seconds == pytest.approx(2 * 2 / 468.75)
    assert (found.puts, found.gets) == (4, 2)
    assert found.stored_megabytes == pytest.approx(2 + 6000 * 164e-6)
    assert found.servers == pytest.approx(2 * 600 / 3600)
    assert found.balancer == pytest.approx(0.6 / 6 + 2 * 12 * 0.1)
    assert found.zones == pytest.approx((6000 * partial + 4) / 1000 * 0.02 * 2 / 3)
    assert found.internet == pytest.approx(12 * 0.09)
    assert found.rounds_per_month == pytest.approx(4320)


def test_twice_the_clients_in_twice_the_time_take_the_same_servers_but_for_polls() -> None:
    costs = replace(COSTS, poll=0.0, connection_kilobytes=0.0)
    longer = replace(SCENARIO, clients=2 * SCENARIO.clients, round_seconds=2 * SCENARIO.round_seconds)
    once, twice = size(costs, SCENARIO, Prices()), size(costs, longer, Prices())
    assert (once.workers, once.middle, once.instances) == (twice.workers, twice.middle, twice.instances)
    assert once.traffic.into_master == twice.traffic.into_master


def test_partials_hold_more_the_more_comes_up_to_a_batch() -> None:
    held = [contributors_per_partial(COSTS, PRICES, 2.0, rate, BATCH_MAX) for rate in (1, 49, 100, 1000, 100_000)]
    assert held == pytest.approx([1, 1, 2, 20, BATCH_MAX])


def test_partials_hold_more_where_the_network_or_the_disk_is_slower_than_the_core() -> None:
    costs = replace(COSTS, header_bytes=1e-6)
    slow_link = replace(PRICES, instance_gigabits=0.2)  # 25 MB a second, and 2.5 MB in a partial: 0.1 s
    slow_disk = replace(PRICES, instance_disk_megabytes=25.0)
    for slow in (slow_link, slow_disk):
        assert contributors_per_partial(costs, slow, 2.0, 1000, 10_000) == pytest.approx(100)
        assert updates_per_second(costs, slow, SCENARIO, 64) == pytest.approx(0.5 * 64 / 0.1)
    assert size(costs, replace(SCENARIO, clients=600_000), slow_link).traffic.into_master <= 25


def test_a_partial_that_grows_with_its_contributors_holds_as_many_as_come_meanwhile() -> None:
    costs = replace(
        COSTS, partial_bytes=Curve(((1.0, 1.0), (101.0, 2.0))), header_bytes=1e-6, partial=Curve(((1.0, 0.0),))
    )
    held = contributors_per_partial(costs, replace(PRICES, instance_disk_megabytes=100.0), 1.0, 3000.0, 10_000)
    assert held == pytest.approx(3000 * (1 + (held - 1) / 100) / 100)


def test_what_travels_between_tiers_is_counted_at_each_of_them() -> None:
    scenario = Scenario(clients=1200, megabytes=10.0, round_seconds=1200.0)
    found = traffic(replace(COSTS, header_bytes=1e-6), PRICES, scenario, (8, 2, 1))
    partials, models = 12.5, 10 / 1200
    assert found.held == (1.0, 1.0)
    assert found.into_workers == pytest.approx(10 + partials + (8 + 2) * models)
    assert found.out_of_workers == pytest.approx(10 + 2 * partials + 8 * models)
    assert found.written == pytest.approx(found.into_workers + 2 * partials)
    assert found.between_tiers == pytest.approx(2 * partials + 10 * models)
    assert found.out_of_master == pytest.approx(2 * models)
    assert found.spread_seconds == pytest.approx((4 + 2) * 10 / 468.75)


def test_a_master_that_full_batches_keep_busy_gets_a_tier_below() -> None:
    most = updates_per_second(COSTS, PRICES, SCENARIO, BATCH_MAX)
    just = replace(SCENARIO, clients=int(most * SCENARIO.round_seconds))
    assert tiers_between(COSTS, PRICES, just) == ()
    assert tiers_between(COSTS, PRICES, replace(just, clients=just.clients + 1000)) == (2,)
    assert tiers_between(COSTS, PRICES, replace(just, clients=just.clients * 31)) == (31,)


def test_a_partial_stands_for_as_many_as_its_header_has_room_for() -> None:
    # 2**24 bytes, 180 for each.
    assert [most_in_a_partial(COSTS, 2.0, tier) for tier in range(4)] == [64, 4096, 93_206, 93_206]
    assert [most_in_a_partial(COSTS, 400.0, tier) for tier in range(4)] == [10, 100, 1000, 10_000]
    most = updates_per_second(COSTS, PRICES, SCENARIO, 93_206)
    with pytest.raises(ValueError, match="no tree of workers takes"):
        tiers_between(COSTS, PRICES, replace(SCENARIO, clients=int(1.1 * most * SCENARIO.round_seconds)))


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
    assert found.instances - 1 >= found.traffic.out_of_workers / 468.75 / 0.5
    assert found.instances - 1 >= found.traffic.written / 312.5 / 0.5


def test_a_curve_is_straight_between_what_was_measured_and_goes_on_beyond() -> None:
    curve = Curve(((1.0, 2.0), (3.0, 6.0), (13.0, 11.0)))
    assert [curve.at(place) for place in (0.5, 1, 2, 3, 8, 13, 23)] == pytest.approx([1, 2, 4, 6, 8.5, 11, 16])
    assert curve.at(-9.0) == 0.0


def test_costs_are_curves_through_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "scale-all.json").write_text(json.dumps({"machine": {"cores": 2}, "records": records()}))
    found, _ = read_records(tmp_path)
    costs = costs_of(found)
    assert costs.update.places == ((1.0, 3.0), (6.0, 10.0), (11.0, 13.0))
    assert costs.update.at(16.0) == pytest.approx(16.0)
    assert costs.partial.at(1.0) == pytest.approx(10.0 - 4 * 0.01)
    assert costs.connection_kilobytes == pytest.approx(1000 * 10 / 90)


def test_costs_by_size_are_of_two_workers_and_the_most_clients_up_to_a_hundred() -> None:
    others = [
        {**records()[0], **other, "worker_core_ms_per_update": 99.0}
        for other in ({"clients": 1000}, {"clients": 10}, {"workers": 4}, {"depth": 3})
    ]
    assert costs_of([*others, *records()]) == costs_of([*records(), *others]) == costs_of(records())


def test_a_larger_partial_is_not_smaller_and_widens_at_last_to_what_the_format_takes() -> None:
    measured = [(2.0, 1.25), (10.0, 1.32), (9.0, 1.30), (11.0, 1.26), (30.0, 1.5)]
    curve = partial_bytes(
        {"benchmark": "updates", "contributors_per_partial": contributors, "partial_bytes_per_model_byte": found}
        for contributors, found in measured
    )
    assert [curve.at(place) for place in (1.0, 2.0, 9.0, 10.0, 20.0, 30.0)] == pytest.approx(
        [1.25 - 0.05 / 7, 1.25, 1.3, 1.32, 1.41, 1.5]
    )
    assert [curve.at(30.0 * times) for times in (64, 128, 4096)] == pytest.approx([1.5, 2.0, 2.0])


def test_costs_need_two_sizes() -> None:
    with pytest.raises(SystemExit, match="records of 'updates' with two different megabytes and 2 workers are needed"):
        costs_of([record for record in records() if record.get("megabytes") not in {6.0, 11.0}])


def records() -> list[dict[str, Any]]:
    return [
        *(
            {
                "benchmark": "updates",
                "clients": 100,
                "depth": 2,
                "workers": 2,
                "megabytes": megabytes,
                "worker_core_ms_per_update": core_ms,
                "worker_core_ms_per_download": 1.0,
                "master_core_ms_per_partial": 10.0,
                "contributors_per_partial": 4.0,
                "partial_bytes_per_model_byte": 1.25,
                "worker_pss_megabytes": 200.0,
                "master_pss_megabytes": 150.0,
            }
            for megabytes, core_ms in ((1.0, 3.0), (6.0, 10.0), (11.0, 13.0))
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


def test_tables_and_figures_take_the_places_of_what_stood_there() -> None:
    page = "before\n<!-- sizing: one -->\nold\n<!-- end -->\nand <!-- sizing: two -->old<!-- end --> after\n"
    found = {"one": "| new |", "two": "3"}
    assert sizing.with_written(page, found) == page.replace("old", "| new |", 1).replace("old", "3")


def test_a_table_without_a_place_and_a_place_without_a_figure_are_errors() -> None:
    page = "<!-- sizing: one -->\nold\n<!-- end -->\n"
    with pytest.raises(SystemExit, match="no place for: two"):
        sizing.with_written(page, {"one": "new", "two": "new"})
    with pytest.raises(SystemExit, match="nothing is written for the page's: one"):
        sizing.with_written(page, {})


def test_the_page_shows_what_the_results_give() -> None:
    found = sizing.written(*read_records(PAGE.parents[1] / "benchmarks" / "results"))
    assert sizing.with_written(PAGE.read_text(), found) == PAGE.read_text()
