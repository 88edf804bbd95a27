import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers.compare import OFTEN, Result, compare, in_turns, table
from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.rounds import Measured
from benchmarks.peers.systems import System
from benchmarks.peers.task import Task
from benchmarks.processes import LIGHT

TASK = Task(clients=2, megabytes=1, rounds=1, arrays=Path(), cache=Path(), patience=1.0, logs=None)


def ends_well(*runs: Measured) -> Callable[[Task], Measured]:
    left = iter(runs)
    return lambda task: next(left)


def ends_badly(task: Task) -> Measured:
    raise RunFailedError("the server ended with status 1: out of memory")


def of_megabytes(peak: float, *seconds: float) -> Measured:
    return Measured(seconds, peak, peak + 50, round(peak))


def ignore(results: Sequence[Result], line: str) -> None:
    pass


def test_systems_play_forwards_and_backwards_by_turns() -> None:
    first, second, third = (System(name, "", "1", ends_badly) for name in "abc")
    assert "".join(system.system for system in in_turns([first, second, third], 3)) == "abccbaabc"


def test_figures_are_over_all_rounds_of_all_runs() -> None:
    system = System(
        "flower", "legacy", "1.42.0", ends_well(of_megabytes(300.0, 1.0, 9.0), of_megabytes(500.0, 2.0, 3.0))
    )
    (result,) = compare([system], TASK, 2, ignore)
    assert result.document() == {
        "system": "flower",
        "variant": "legacy",
        "version": "1.42.0",
        "seconds": [1.0, 9.0, 2.0, 3.0],
        "median": 2.5,
        "min": 1.0,
        "max": 9.0,
        "server_pss_megabytes": 400.0,
        "server_high_water_megabytes": 550.0,
        "memory_samples": 300,
        "runs": 2,
        "memory_runs": 2,
        "failures": [],
    }


def test_memory_is_looked_at_in_runs_whose_seconds_do_not_count() -> None:
    asked: list[float] = []

    def measure(task: Task) -> Measured:
        asked.append(task.memory_looks)
        return of_megabytes(100.0 * len(asked), float(len(asked)))

    (result,) = compare([System("good", "", "2", measure)], TASK, 2, ignore, memory_repeats=1)
    document = result.document()
    assert asked == [LIGHT, LIGHT, OFTEN]
    assert document["seconds"] == [1.0, 2.0]
    assert (document["server_pss_megabytes"], document["memory_samples"]) == (300.0, 300)
    assert (document["runs"], document["memory_runs"]) == (2, 1)


def test_a_run_that_ends_badly_is_reported_and_the_others_go_on() -> None:
    lines: list[str] = []
    systems = [System("bad", "x", "1", ends_badly), System("good", "", "2", ends_well(of_megabytes(10.0, 1.5)))]
    bad, good = compare(systems, TASK, 1, lambda _, line: lines.append(line))
    assert bad.document()["failures"] == ["the server ended with status 1: out of memory"]
    assert bad.document()["median"] is None
    assert good.document()["median"] == 1.5
    assert lines == ["bad-x: the server ended with status 1: out of memory", "good: 1.500 s; 10 MB in 10 looks"]
    failed, well = table([bad, good]).splitlines()[1:]
    assert failed.split("FAILED: ")[1] == "the server ended with status 1: out of memory"
    assert well.split() == ["good", "2", "1.500", "s", "1.500", "s", "1.500", "s", "10", "MB"]


def test_results_so_far_can_be_kept_after_every_run() -> None:
    kept: list[str] = []
    system = System("good", "", "2", ends_well(of_megabytes(10.0, 1.0), of_megabytes(10.0, 2.0)))
    compare([system], TASK, 2, lambda results, _: kept.append(json.dumps([one.document() for one in results])))
    assert [json.loads(each)[0]["seconds"] for each in kept] == [[1.0], [1.0, 2.0]]
