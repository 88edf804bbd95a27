"""SIGTERM ends a client's process in good order, whatever it is at."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.federation import Federation
from tests.client.loopback import serve
from tests.system.federation import PATIENCE, Process

ROOT = Path(__file__).parents[2]
INITIAL = {"mean": np.zeros(1, np.float32)}
TOLD = "told to stop; no update waits to be sent"
KEPT = "told to stop; the update of round 1 stays on disk, and the next start sends it if its round is still open"
TOLD_WHO_GOT_A_SIGNAL = pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="the system does not tell")

TASKS = """
import ctypes, multiprocessing, os, signal
import numpy as np

def wait():
    open("begun", "w").close()
    open("never").read()  # a named pipe that nobody writes to

class Waits:
    def __init__(self, data):
        pass

    def initial_model(self, seed):
        return {}

    def fit(self, arrays, config):
        self.work()
        return {"mean": np.ones(1, np.float32)}, 1, {}

    def work(self):
        wait()

class WaitsWhileItLoads(Waits):
    def __init__(self, data):
        wait()

class TakesNoNotice(Waits):
    def work(self):
        try:
            wait()
        except BaseException:
            pass

def wait_in_foreign_code():
    lock = ctypes.CDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex)
    open("begun", "w").close()
    lock(mutex)  # waits in C, and goes on waiting after a signal

class IsForeignCode(Waits):
    def work(self):
        wait_in_foreign_code()

class FailsOnA(IsForeignCode):
    def __init__(self, data):
        self.fails = data.name == "a"

    def work(self):
        if self.fails:
            raise ValueError("a is no data")
        super().work()

class Told:  # lets a thread wait until the main one has been sent the SIGTERM that follows the grace
    def __init__(self):
        self.heard, self.told = os.pipe()
        send = signal.pthread_kill

        def tell(*signal_to_thread):
            send(*signal_to_thread)
            os.write(self.told, b".")

        signal.pthread_kill = tell

    def wait(self):
        open("begun", "w").close()
        os.read(self.heard, 1)

class WritesSlowly(Waits):
    def work(self):
        at_once, told = os.replace, Told()

        def late(*paths):
            os.replace = at_once
            told.wait()
            at_once(*paths)

        os.replace = late

class HasASlowDisk(Waits):
    def work(self):
        at_once, told = os.fsync, Told()

        def late(descriptor):
            os.fsync = at_once
            told.wait()
            at_once(descriptor)
            open("durable", "w").close()

        os.fsync = late

class EndsProcesses(Waits):
    def work(self):
        with multiprocessing.get_context("fork").Pool(2) as pool:  # which ends them with SIGTERM
            assert pool.map(abs, [-1, 2]) == [1, 2]

class ForksUnseen(Waits):
    def work(self):
        libc = ctypes.CDLL(None)
        stack = ctypes.create_string_buffer(1 << 20)
        top = ctypes.addressof(stack) + len(stack) & -16
        for _ in range(20):  # children that run no Python, as between a fork and what Python does after it
            child = libc.clone(libc["raise"], ctypes.c_void_p(top), signal.SIGCHLD, ctypes.c_void_p(signal.SIGTERM))
            assert os.waitpid(child, 0) == (child, 0)

class LeavesAThread(Waits):
    def work(self):
        import threading
        threading.Thread(target=threading.Event().wait).start()
        wait()
"""


class Client:
    """A client's process, in a folder with its task."""

    def __init__(self, folder: Path, url: str, task: str, *flags: str) -> None:
        self.folder = folder
        (folder / "tasks.py").write_text(TASKS)
        os.mkfifo(folder / "never")
        usual = ("--server", url, "--client-id", "a", "--data", "a", "--task", f"tasks.py:{task}", "--json")
        command = [sys.executable, "-P", "-m", "client", *usual, *flags]
        self.process = Process("client", command, folder, {**os.environ, "PYTHONPATH": str(ROOT)})
        self.log = self.process.log

    def await_file(self, name: str) -> None:
        self.process.wait_until((self.folder / name).exists, f"{name} is there")

    def await_log(self, words: str) -> None:
        self.process.wait_until(lambda: words in self.log.read_text(), f"it says {words!r}")

    def ended_by(self, *signals: signal.Signals) -> tuple[int, list[dict[str, Any]]]:
        """Send signals, and return its exit status and its facts."""
        for number in signals:
            self.process.signal(number)
        return self.process.wait(), [json.loads(line) for line in self.process.output]


@contextmanager
def started(folder: Path, task: str, *flags: str, url: str | None = None) -> Iterator[Client]:
    with serve(Federation(INITIAL, folder, threshold=1, final_round=1)) as served:
        client = Client(folder, url or served, task, *flags)
        try:
            yield client
        finally:
            client.process.end()


def endings(facts: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    return [(fact["ok"], fact["detail"]) for fact in facts if fact["event"] == "finished"]


@pytest.mark.parametrize("task", ["Waits", "WaitsWhileItLoads", "TakesNoNotice"])
def test_work_of_a_task_is_broken_off_and_sends_nothing(task: str, tmp_path: Path) -> None:
    with started(tmp_path, task) as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (0, [(True, TOLD)])
    assert {fact["event"] for fact in facts} <= {"training", "finished"}
    assert not list(tmp_path.glob(".fedtier/a/update-*"))
    assert client.log.read_text().count('"event": "finished"') == 1


@pytest.mark.parametrize("task", ["Waits", "LeavesAThread"])
def test_further_sigterms_make_it_no_worse_up_to_the_very_end(task: str, tmp_path: Path) -> None:
    with started(tmp_path, task, "--grace", "0") as client:
        client.await_file("begun")
        while client.process.runs:
            client.process.signal(signal.SIGTERM)
        status, facts = client.ended_by()
    assert (status, endings(facts)) == (0, [(True, TOLD)])
    assert "Traceback" not in client.log.read_text()


@pytest.mark.parametrize("task", ["IsForeignCode", "LeavesAThread"])
def test_what_does_not_come_back_ends_with_the_grace(task: str, tmp_path: Path) -> None:
    with started(tmp_path, task, "--grace", "0") as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (0, [(True, TOLD)])


@pytest.mark.parametrize("task", ["Waits", "WaitsWhileItLoads", "IsForeignCode"])
def test_a_scheduler_can_tell_a_client_that_was_stopped_from_one_that_is_done(task: str, tmp_path: Path) -> None:
    with started(tmp_path, task, "--grace", "0", "--stopped-status", "143") as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (143, [(True, TOLD)])


def test_a_client_that_failed_before_is_seen_in_the_status_of_a_process_that_does_not_come_back(tmp_path: Path) -> None:
    flags = ("--client-id", "b", "--data", "b", "--grace", "0", "--stopped-status", "143")
    with started(tmp_path, "FailsOnA", *flags) as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, [ok for ok, _ in endings(facts)], endings(facts)[-1]) == (1, [False, True], (True, TOLD))


def test_an_update_that_is_being_saved_when_the_grace_ends_is_saved(tmp_path: Path) -> None:
    with started(tmp_path, "WritesSlowly", "--grace", "0") as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (0, [(True, KEPT)])
    assert [fact["event"] for fact in facts] == ["training", "trained", "finished"]
    assert len(list(tmp_path.glob(".fedtier/a/update-*.safetensors"))) == 1


def test_an_update_whose_end_waits_for_the_disk_when_the_grace_ends_gets_there_and_is_not_counted(
    tmp_path: Path,
) -> None:
    with started(tmp_path, "HasASlowDisk", "--grace", "0") as client:
        client.await_file("begun")
        client.await_log("trained")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (0, [(True, KEPT)])
    assert [fact["event"] for fact in facts] == ["training", "trained", "finished"]
    assert len(list(tmp_path.glob(".fedtier/a/update-*.safetensors"))) == 1
    assert (tmp_path / "durable").exists()


def test_saving_that_does_not_come_to_an_end_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    script = """
import os, signal
from client.signals import stopped_by_sigterm
from client.stopping import Stopping
from tasks import wait_in_foreign_code

with stopped_by_sigterm(Stopping(), grace=0, saving=0):
    os.kill(os.getpid(), signal.SIGTERM)
    wait_in_foreign_code()
"""
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-c", script]
    subprocess.run(command, check=True, cwd=tmp_path, env=variables, timeout=PATIENCE)


def test_a_client_that_waits_for_its_server_ends_at_once(tmp_path: Path) -> None:
    with started(tmp_path, "Waits", url="http://127.0.0.1:9") as client:
        client.await_log("trying again")
        status, facts = client.ended_by(signal.SIGTERM)
    assert (status, endings(facts)) == (0, [(True, TOLD)])


@pytest.mark.parametrize("task", ["EndsProcesses", pytest.param("ForksUnseen", marks=TOLD_WHO_GOT_A_SIGNAL)])
def test_processes_that_a_task_ends_do_not_end_the_client(task: str, tmp_path: Path) -> None:
    with started(tmp_path, task, "--grace", "0", "--stopped-status", "143") as client:
        status, facts = client.ended_by()
    assert (status, endings(facts)) == (0, [(True, "the federation finished with round 1")]), client.log.read_text()


def test_a_process_that_is_ended_while_it_is_forked_ends(tmp_path: Path) -> None:
    script = """
import os, signal
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # before the client's own
from client.signals import stopped_by_sigterm
from client.stopping import Stopping

def forked():
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

stopping = Stopping()
with stopped_by_sigterm(stopping, grace=0):
    assert forked() == -signal.SIGTERM
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not stopping.asked
assert forked() == -signal.SIGTERM
"""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env=variables, timeout=PATIENCE)


def test_ctrl_c_ends_a_client_with_130(tmp_path: Path) -> None:
    with started(tmp_path, "Waits") as client:
        client.await_file("begun")
        status, facts = client.ended_by(signal.SIGINT)
    assert (status, [fact["event"] for fact in facts]) == (130, ["training"])
