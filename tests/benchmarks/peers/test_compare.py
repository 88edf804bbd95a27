import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.compare import Comparison, Repeats, compare, in_turns, table
from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.rounds import Measured, Memory
from benchmarks.peers.systems import System
from benchmarks.peers.task import Task

TASK = Task(clients=2, megabytes=1, rounds=1, arrays=Path(), cache=Path(), patience=1.0, logs=None)


def ends_well(*seconds: tuple[float, ...], megabytes: tuple[float, ...] = ()) -> Callable[[Task], Measured]:
    """Return what has these seconds, run after run, and then these megabytes."""
    timed = iter(seconds)
    memory = iter(megabytes)

    def measure(task: Task) -> Measured:
        if not task.memory:
            return Measured(next(timed))
        peak = next(memory)
        return Measured((99.0,), Memory(peak, peak + 50, round(peak)))

    return measure


def ends_badly(task: Task) -> Measured:
    raise RunFailedError("the server ended with status 1: out of memory")


def ignore(comparison: Comparison, line: str) -> None:
    pass


def as_fast_as_ever() -> float:
    return 3.5


def test_systems_play_forwards_and_backwards_by_turns() -> None:
    first, second, third = (System(name, "", "1", ends_badly) for name in "abc")
    turns = in_turns([first, second, third], 3)
    assert ["".join(system.system for system in turn) for turn in turns] == ["abc", "cba", "abc"]


def test_figures_are_over_all_rounds_of_all_runs_and_memory_is_of_runs_whose_seconds_do_not_count() -> None:
    measure = ends_well((1.0, 9.0), (2.0, 3.0), megabytes=(300.0, 500.0))
    system = System("flower", "legacy", "1.42.0", measure)
    comparison = compare([system], TASK, Repeats(2, 2), as_fast_as_ever, ignore)
    assert comparison.results[0].document() == {
        "system": "flower",
        "variant": "legacy",
        "version": "1.42.0",
        "seconds": [1.0, 9.0, 2.0, 3.0],
        "median": 2.5,
        "min": 1.0,
        "max": 9.0,
        "server_pss_megabytes": 400.0,
        "server_pss_of_runs": [300.0, 500.0],
        "server_high_water_megabytes": 550.0,
        "memory_samples": 300,
        "runs": 2,
        "failures": [],
    }


def test_a_run_that_ends_badly_is_reported_and_the_others_go_on() -> None:
    lines: list[str] = []
    systems = [System("bad", "x", "1", ends_badly), System("good", "", "2", ends_well((1.5,), megabytes=(10.0,)))]
    bad, good = compare(systems, TASK, Repeats(1, 1), as_fast_as_ever, lambda _, line: lines.append(line)).results
    why = "the server ended with status 1: out of memory"
    assert bad.document()["failures"] == [why, f"looking at memory: {why}"]
    assert bad.document()["median"] is None
    assert good.document()["median"] == 1.5
    assert lines == [
        f"bad-x: {why}",
        "good: 1.500 s",
        "loopback: 3.50 GB/s",
        f"bad-x: looking at memory: {why}",
        "good: 10 MB, of 10 looks",
    ]
    failed, _, well = table([bad, good]).splitlines()[1:]
    assert failed.split("FAILED: ")[1] == why
    assert well.split() == ["good", "2", "1.500", "s", "1.500", "s", "1.500", "s", "10", "MB"]


def test_results_so_far_can_be_kept_after_every_run() -> None:
    kept: list[str] = []

    def keep(comparison: Comparison, _: str) -> None:
        kept.append(json.dumps([one.document() for one in comparison.results]))

    compare([System("good", "", "2", ends_well((1.0,), (2.0,)))], TASK, Repeats(2, 0), as_fast_as_ever, keep)
    assert [json.loads(each)[0]["seconds"] for each in kept] == [[1.0], [1.0], [1.0, 2.0], [1.0, 2.0]]
    assert json.loads(kept[-1])[0]["server_pss_megabytes"] is None


def test_loopback_is_measured_before_the_first_repeat_between_all_and_after_the_last() -> None:
    events: list[str] = []

    def loopback() -> float:
        events.append("loopback")
        return float(len(events))

    def measure(task: Task) -> Measured:
        events.append("run")
        return Measured((1.0,))

    comparison = compare([System("a", "", "1", measure)], TASK, Repeats(2, 0), loopback, ignore)
    assert events == ["loopback", "run", "loopback", "run", "loopback"]
    assert comparison.loopback == [1.0, 3.0, 5.0]
