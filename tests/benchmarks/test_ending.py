import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from benchmarks.ending import end_when_told
end_when_told()
try:
    print("runs", flush=True)
    threading.Event().wait()
finally:
    print("clears away", flush=True)
    sys.stdin.readline()
    print("is done", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_twice_clears_away_to_the_end(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(number)
        assert process.stdout.readline() == "clears away\n"
        process.send_signal(number)
        said, _ = process.communicate("\n", timeout=60)
    assert said == "is done\n"
    assert process.returncode == 128 + number


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    words = ["nohup", sys.executable, "-c", PROGRAM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate("\n", timeout=60)
    assert said == "clears away\nis done\n"
    assert process.returncode == 128 + signal.SIGTERM
