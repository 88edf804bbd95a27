import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.matrix import CELLS, RESULTS, call_of
from benchmarks.recorded import EXPECTED, read_results
from benchmarks.report import BEGIN, END, README, main, report, with_report
from benchmarks.round import parser as round_parser
from benchmarks.tables import comparison_table
from benchmarks.targets import Verdict, verdicts
from tests.benchmarks.recordings import MACHINE, a_cell, write_cell, write_comparison, write_scale

PAGE = f"# Benchmarks\n\nProse.\n\n{BEGIN}\nold\n{END}\n\nMore prose.\n"


def verdict(folder: Path, words: str) -> Verdict:
    (found,) = (one for one in verdicts(read_results(folder)) if words in one.what)
    return found


def test_without_results_nothing_is_measured_and_all_is_missing(tmp_path: Path) -> None:
    recorded = read_results(tmp_path)
    assert {one.outcome for one in verdicts(recorded)} == {"not measured"}
    assert {f"{name}.json" for name in ("64mb-1w", "2gb-1w", "peers-64mb", "scale-idle", "halves")} <= set(
        recorded.missing
    )


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, "met"), (1.01, "missed")])
def test_speed_is_held_against_the_faster_flower_path(tmp_path: Path, seconds: float, outcome: str) -> None:
    write_comparison(
        tmp_path,
        {
            ("fedtier", ""): (seconds, 500),
            ("flower", "legacy"): (10.0, 4000),
            ("flower", "superlink"): (27.0, 2400),
            ("nvflare", "fedavg"): (5.0, 100),
        },
    )
    found = verdict(tmp_path, "round (b), against")
    assert found.outcome == outcome
    assert "flower legacy 10.00 s" in found.found


@pytest.mark.parametrize(("megabytes", "outcome"), [(600, "met"), (601, "missed")])
def test_memory_is_held_against_the_smaller_flower_path(tmp_path: Path, megabytes: float, outcome: str) -> None:
    write_comparison(
        tmp_path,
        {
            ("fedtier", ""): (1.0, megabytes),
            ("flower", "legacy"): (10.0, 4000),
            ("flower", "superlink"): (27.0, 2400),
        },
    )
    found = verdict(tmp_path, "memory of all servers")
    assert found.outcome == outcome
    assert found.found.endswith("for each process, 0.250")


@pytest.mark.parametrize("failed", ["legacy", "superlink"])
def test_which_path_is_the_better_is_not_known_where_one_always_failed(tmp_path: Path, failed: str) -> None:
    paths = ("legacy", "superlink", "superlink-tuned")
    write_comparison(
        tmp_path,
        {
            ("fedtier", ""): (1.0, 500),
            **{("flower", path): None if path == failed else (20.0, 2400) for path in paths},
        },
    )
    for words in ("round (b), against", "memory of all servers"):
        assert verdict(tmp_path, words).outcome == "not measured"


def test_a_run_that_failed_is_a_line_with_its_reason(tmp_path: Path) -> None:
    write_comparison(tmp_path, {("fedtier", ""): (1.0, 500), ("flower", "legacy"): None})
    (comparison,) = read_results(tmp_path).comparisons.values()
    table = comparison_table(comparison)
    assert "| fedtier | 1.0 | 1 |" in table
    assert "| flower legacy | 1.0 | 0 of 1 |" in table
    assert table.endswith("\n\n- flower legacy failed: it hung")


@pytest.mark.parametrize(("many", "outcome"), [(630.0, "met"), (631.0, "missed")])
def test_memory_has_to_be_flat_in_the_number_of_clients(tmp_path: Path, many: float, outcome: str) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell(servers=600.0))
    write_cell(tmp_path, "64mb-64-clients", a_cell(clients=64, held=None, servers=many))
    assert verdict(tmp_path, "with S3").outcome == outcome


def test_cells_of_other_sizes_decide_no_target(tmp_path: Path) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell(clients=3, megabytes=0.02))
    write_cell(tmp_path, "64mb-64-clients", a_cell(clients=3, megabytes=0.02))
    write_cell(tmp_path, "0.01mb-1w", a_cell(clients=3, megabytes=0.02))
    for words in ("with S3", "ingest", "whole round"):
        assert verdict(tmp_path, words).outcome == "not measured"


@pytest.mark.parametrize(("commit", "outcome"), [(0.51, "met"), (0.52, "missed")])
def test_ingest_is_held_against_loopback(tmp_path: Path, commit: float, outcome: str) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell(commit=5.0))
    write_cell(tmp_path, "64mb-2w", a_cell(commit=commit, workers=2))
    found = verdict(tmp_path, "ingest")
    assert found.outcome == outcome
    assert "64mb-2w" in found.found


@pytest.mark.parametrize(("held", "outcome"), [(0.15, "met"), (0.16, "missed")])
def test_a_small_round_has_to_be_short(tmp_path: Path, held: float, outcome: str) -> None:
    write_cell(tmp_path, "0.01mb-2w", a_cell(megabytes=0.01, held=held, workers=2))
    assert verdict(tmp_path, "whole round").outcome == outcome


@pytest.mark.parametrize(("updates", "outcome"), [(300.0, "met"), (299.0, "missed")])
def test_updates_per_second_count_per_core(tmp_path: Path, updates: float, outcome: str) -> None:
    write_scale(tmp_path, updates)
    assert verdict(tmp_path, "per core").outcome == outcome


@pytest.mark.parametrize(("many", "outcome"), [(5.25, "met"), (5.26, "missed")])
def test_an_update_costs_no_more_where_clients_are_many(tmp_path: Path, many: float, outcome: str) -> None:
    records = [
        {
            "clients": clients,
            "workers": workers,
            "depth": 3,
            "megabytes": 1.7,
            "updates_per_second": 1.0,
            "worker_core_ms_per_update": cost - 2.0,
            "middle_core_ms_per_update": 1.0,
            "master_core_ms_per_update": 1.0,
        }
        for workers, clients, cost in ((1, 100, 5.0), (1, 1000, 5.0), (2, 10, 50.0), (2, 100, 5.0), (2, 1000, many))
    ]
    (tmp_path / "scale-all.json").write_text(json.dumps({"records": records}))
    found = verdict(tmp_path, "at 1,000 clients over")
    assert found.outcome == outcome
    assert found.found.endswith("(workers: 2, depth: 3)")


def test_one_wrong_round_misses_exactness(tmp_path: Path) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell())
    assert verdict(tmp_path, "exactness").outcome == "met"
    write_cell(tmp_path, "64mb-2w", a_cell(exact=False))
    found = verdict(tmp_path, "exactness")
    assert found.outcome == "missed"
    assert "64mb-2w" in found.found


def test_the_page_shows_what_was_met_and_missed_and_how_to_repeat_it(tmp_path: Path) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell())
    write_comparison(tmp_path, {("fedtier", ""): (1.5, 500), ("flower", "legacy"): (10.0, 4000)})
    write_scale(tmp_path, 400.0)
    (tmp_path / "halves.json").write_text(
        '{"accuracy": {"float32": [[0.1, 0.972], [0.1, 0.974]], "float16": [[0.1, 0.9711], [0.1, 0.9711]]}}'
    )
    page = written(tmp_path)
    assert page.startswith("# Benchmarks\n\nProse.\n")
    assert page.endswith("\n\nMore prose.\n")
    assert "old" not in page
    assert "| **missed** |" in page
    assert "| met |" in page
    assert "| `64mb-1w` | 8 | 8 | 64 | 1 | 2 | 0.1 | 0.5 | 1 | 1.5 * | 8.0 | 2.00 | 0.26 |" in page
    row = "| `64mb-1w` | 0.5 | 0.5 | 0.5 | 0.5 | 64 | 900 | 300 | 200 | 100 | 600 | 10 | 900 | 300 | 200 | 100 | 600 |"
    assert row in page
    assert "| clients | workers | depth | megabytes | updates per second |\n" in page
    assert "| clients | workers | depth | megabytes | core ms per update |\n" in page
    assert "| 100 | 2 | 2 | 1.7 | 3.5 |\n" in page
    assert "| round | float32 | float16 |\n" in page
    assert "| 1 | 97.30% (97.20% - 97.40%) | 97.11% (97.11% - 97.11%) |\n" in page
    assert "Means and ranges of 2 seeds." in page
    assert "are missing: `0.01mb-1w.json`, " in page
    assert "Measured on: " not in page
    assert "python -m benchmarks.round --megabytes 64 --workers 1" in page
    for name in ("peers-64mb", "rounds", "scale-updates"):
        assert f"![{name}]({name}.svg)" in page
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    assert written(tmp_path) == page


def test_accuracies_of_one_seed_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "halves.json").write_text('{"accuracy": {"float32": [[0.1, 0.972]], "float16": [[0.1, 0.9711]]}}')
    page = written(tmp_path)
    assert "| 1 | 97.20% | 97.11% |" in page
    assert "One seed." in page


def test_a_machine_that_is_not_that_of_the_rounds_stands_beside_its_tables(tmp_path: Path) -> None:
    write_cell(tmp_path, "64mb-1w", replace(a_cell(), machine=replace(MACHINE, cores=4), filesystem="ext4"))
    write_scale(tmp_path, 400.0)
    page = written(tmp_path)
    assert "Measured on: a processor, 2 cores, 16 GB; Linux 1; 3.11.0, 2.0.0." in page
    assert "| file system of state, disk | ext4 |" in page


def test_exactness_counts_rounds_of_scale_that_were_compared(tmp_path: Path) -> None:
    write_cell(tmp_path, "64mb-1w", a_cell())
    records = [{"benchmark": "updates", "rounds": 20}, {"benchmark": "contributors"}, {"benchmark": "idle"}]
    (tmp_path / "scale-all.json").write_text(json.dumps({"records": records}))
    assert verdict(tmp_path, "exactness").found == "3 rounds and 22 of scale"


def test_the_readme_shows_what_the_results_give() -> None:
    page = README.read_text()
    shown = report(read_results(RESULTS), lambda name, _: f"![{name}](results/{name}.svg)")
    assert with_report(page, shown) == page


def test_the_readme_says_how_to_make_every_result_in_order_and_every_call_is_one_that_exists() -> None:
    in_order = README.read_text().partition("```\n")[2].partition("```")[0]
    for name in set(EXPECTED) - set(CELLS):
        assert f"--out benchmarks/results/{name}.json" in in_order
    assert in_order.index("benchmarks.matrix") < in_order.index("benchmarks.report")
    for cell in CELLS:
        parsed = round_parser().parse_args(call_of(cell))
        assert parsed.state == ("memory" if cell.endswith("-memory") else "disk")


def test_only_a_check_fails_where_a_target_is_not_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(PAGE)
    write_cell(tmp_path, "64mb-1w", a_cell(commit=9.0))
    where = ["--results", str(tmp_path), "--readme", str(readme)]
    assert main(where) == 0
    assert "missed: ingest" in capsys.readouterr().err
    assert main([*where, "--check"]) == 1
    write_cell(tmp_path, "64mb-1w", a_cell(commit=0.1))
    assert main([*where, "--check"]) == 1
    assert "not measured: " in capsys.readouterr().err


@pytest.mark.parametrize("page", ["no markers", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", f"{BEGIN} {END} {END}"])
def test_a_page_without_its_markers_is_left_alone(page: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        with_report(page, "text")


def written(folder: Path) -> str:
    readme = folder / "README.md"
    readme.write_text(PAGE)
    assert main(["--results", str(folder), "--readme", str(readme)]) == 0
    return readme.read_text()
