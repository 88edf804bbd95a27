import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import Watched, cpu_seconds, high_water_bytes, pss_bytes, tree
from tests.masters import wait_until

MEGABYTE = 1_000_000
HOLDER = """
import subprocess, sys
held = bytearray(int(sys.argv[1])) if sys.argv[1:] else None
if sys.argv[2:]:
    below = [sys.executable, "-I", "-c", sys.argv[2], sys.argv[1]]
    nested = subprocess.Popen(below, stdin=subprocess.PIPE)
for i in range(len(held or ()) // 4096):
    held[i * 4096] = 1
print("holds", flush=True)
sys.stdin.read()
"""
CLOCKS = """
import resource, subprocess, sys, time
if sys.argv[1:]:
    subprocess.run([sys.executable, "-I", "-c", sys.argv[1]])
def tell():
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(time.process_time(), ended.ru_utime + ended.ru_stime, flush=True)
tell()
sys.stdin.readline()
tell()
"""
BUSY = "import time\nwhile time.process_time() < 0.2: pass"


@contextmanager
def holder(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Give a process that has touched so much memory, and ends with its standard input."""
    words = [sys.executable, "-I", "-c", HOLDER, *arguments]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        holding = 2 if arguments[1:] else 1
        for _ in range(holding):
            assert process.stdout.readline() == "holds\n"
        yield process
        process.communicate()


def test_memory_of_a_process_is_what_it_touched() -> None:
    with holder() as small, holder(str(100 * MEGABYTE)) as large:
        more = pss_bytes(large.pid) - pss_bytes(small.pid)
        assert 95 * MEGABYTE < more < 110 * MEGABYTE
        peak_more = high_water_bytes([large.pid]) - high_water_bytes([small.pid])
        assert 95 * MEGABYTE < peak_more < 110 * MEGABYTE


def test_a_tree_is_a_process_and_all_below_it() -> None:
    with holder(str(50 * MEGABYTE), HOLDER) as process:
        found = tree(process.pid)
        assert len(found) == 2
        assert found[0] == process.pid
        assert sum(map(pss_bytes, found)) > 100 * MEGABYTE


def test_cpu_of_a_process_is_what_its_own_clock_tells() -> None:
    (before, _), seen, (after, _) = cpu_between_two_looks()
    assert 0 < before <= seen <= after


def test_cpu_of_ended_children_counts_once() -> None:
    (before, ended), seen, (after, _) = cpu_between_two_looks(BUSY)
    assert ended > 0.15
    assert before + ended - 0.02 <= seen <= after + ended


def cpu_between_two_looks(*child: str) -> tuple[list[float], float, list[float]]:
    """Return what a process tells of its own and its child's CPU, what is seen of it then, and what it tells after."""
    words = [sys.executable, "-I", "-c", CLOCKS, *child]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        before = process.stdout.readline()
        assert tree(process.pid) == [process.pid]
        seen = cpu_seconds([process.pid])
        after, _ = process.communicate("go on\n")
    return [float(word) for word in before.split()], seen, [float(word) for word in after.split()]


def test_what_has_ended_uses_nothing() -> None:
    with holder() as process:
        pass
    assert pss_bytes(process.pid) == 0
    assert high_water_bytes([process.pid]) == 0
    assert cpu_seconds([process.pid]) == 0


def test_tiers_are_watched_apart_and_together() -> None:
    with holder(str(20 * MEGABYTE)) as low, holder(str(80 * MEGABYTE)) as high:
        with Watched({"low": [low.pid], "high": [high.pid]}) as watched:
            wait_until(lambda: watched.samples >= 2)
        assert 20 * MEGABYTE < watched.peak("low") < 60 * MEGABYTE
        assert 80 * MEGABYTE < watched.peak("high") < 120 * MEGABYTE
        assert watched.peak("low", "high") == watched.peak("low") + watched.peak("high")


def test_a_peak_is_kept_when_its_process_has_ended() -> None:
    with holder(str(80 * MEGABYTE)) as process, Watched({"one": [process.pid]}) as watched:
        wait_until(lambda: watched.samples >= 1)
        process.communicate()
        before = watched.samples
        wait_until(lambda: watched.samples > before + 1)
        assert watched.peak("one") > 80 * MEGABYTE
