import os
import sys
from pathlib import Path

import pytest

from benchmarks.peers.programs import Programs, RunFailedError
from tests.masters import PATIENCE, wait_until

SLEEPER = "import threading; threading.Event().wait()"
LEAVES_ONE_BEHIND = f"""
import pathlib, subprocess, sys
left = subprocess.Popen([sys.executable, "-I", "-c", {SLEEPER!r}], start_new_session=True)
pathlib.Path("left").write_text(str(left.pid))
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_what_a_program_left_behind_is_ended_too(tmp_path: Path) -> None:
    with Programs(tmp_path, os.environ) as programs:
        programs.start("parent", python(LEAVES_ONE_BEHIND))
        programs.await_end("parent", PATIENCE)
        left = int((tmp_path / "left").read_text())
        assert is_running(left)
        assert programs.running(SLEEPER) == [left]
    assert not is_running(left)


def test_what_was_there_before_goes_on(tmp_path: Path) -> None:
    with Programs(tmp_path, os.environ) as outer:
        before = outer.start("before", python(SLEEPER))
        with Programs(tmp_path, os.environ) as programs:
            pid = programs.start("program", python(SLEEPER))
        assert not is_running(pid)
        outer.check()
        assert is_running(before)


def test_a_program_that_does_not_end_is_said_so(tmp_path: Path) -> None:
    with Programs(tmp_path, os.environ) as programs:
        programs.start("program", python("print('almost', flush=True);" + SLEEPER))
        wait_until((tmp_path / "program.log").read_text)
        with pytest.raises(RunFailedError, match=r"program has not ended in 0\.01 s: almost"):
            programs.await_end("program", 0.01)


def test_waiting_ends_when_a_program_fails(tmp_path: Path) -> None:
    with Programs(tmp_path, os.environ) as programs:
        programs.start("program", python("import sys; sys.exit('port taken')"))
        with pytest.raises(RunFailedError, match="program ended with status 1: port taken"):
            programs.await_that(lambda: False, "it listens", PATIENCE)
