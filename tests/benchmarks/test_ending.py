import signal
import subprocess
import sys

PROGRAM = """
import sys, threading
from benchmarks.ending import end_on_sigterm
end_on_sigterm()
try:
    print("runs", flush=True)
    threading.Event().wait()
finally:
    print("clears away", flush=True)
    sys.stdin.readline()
    print("is done", flush=True)
"""


def test_who_is_told_to_end_twice_clears_away_to_the_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "clears away\n"
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate("\n", timeout=60)
    assert said == "is done\n"
    assert process.returncode == 128 + signal.SIGTERM
