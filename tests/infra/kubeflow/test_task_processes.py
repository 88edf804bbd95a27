"""A task is killed with all that it started, and nothing else is."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.infra.kubeflow.task_processes import kill_all_of, kill_task_of
from tests.infra.traces import children

# Its child is started by a thread, as tasks that run side by side are.
_PARENT = """
import subprocess, sys, threading
def start():
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid, flush=True)
    child.wait()
thread = threading.Thread(target=start)
thread.start()
thread.join()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            kill_all_of(process.pid)


def _child_of(parent: subprocess.Popen[str]) -> int:
    assert parent.stdout is not None
    return int(parent.stdout.readline())


def test_a_task_goes_with_all_that_it_started(parent: subprocess.Popen[str]) -> None:
    child = os.pidfd_open(_child_of(parent))

    kill_task_of(parent.pid, os.getpid())

    assert parent.wait() == -9
    try:
        # It is no child of ours to wait for, but what names it tells when it has ended.
        assert select.select([child], [], [])[0] == [child]
    finally:
        os.close(child)


def test_of_two_tasks_one_goes(parent: subprocess.Popen[str]) -> None:
    child = _child_of(parent)

    kill_task_of(child, parent.pid)

    assert parent.wait() == 0


def test_a_process_of_another_place_is_left_alone(parent: subprocess.Popen[str]) -> None:
    child = _child_of(parent)

    kill_task_of(child, runner=child)

    assert children(parent.pid) == [child]
    assert parent.poll() is None
