"""One run of Ansible as a child of this program: its events as they come, and its end. Alone knows ansible-runner."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from fedtier.problems import StartupError
from fedtier_cli.deploying.plays import PlayEvent, play_event

SUCCESSFUL: Final = "successful"
TIMED_OUT: Final = "timed out"
See: TypeAlias = Callable[[PlayEvent], None]
_CHECKED_EVERY: Final = 0.5
"""Seconds in which ansible-runner notices that it is to give up."""
_GRACE: Final = 10.0
"""Seconds that Ansible has to end its workers and their ssh."""


def run_ansible(settings: Mapping[str, Any], see: See, *, timeout: float) -> str:
    """Run Ansible; what it started ends with it, also when this is interrupted or takes too long.

    Parameters
    ----------
    settings : Mapping
        Of ``ansible_runner.run``.
    see : callable
        Gets every event, in the thread of the caller.
    timeout : float
        Seconds.

    Returns
    -------
    str
        `SUCCESSFUL`, `TIMED_OUT`, or what ansible-runner calls it.

    Raises
    ------
    StartupError
        Ansible is not installed.
    """
    run = _Run(_ansible_runner(), settings)
    deadline = time.monotonic() + timeout
    try:
        while (event := run.events.get(timeout=max(deadline - time.monotonic(), 0.0))) is not None:
            see(event)
    except queue.Empty:
        return TIMED_OUT
    finally:
        run.end()
    return run.status


class _Run:
    """Ansible in a thread of its own, so that a signal for this program ends Ansible and not ansible-runner."""

    def __init__(self, runner: Any, settings: Mapping[str, Any]) -> None:
        self.events: queue.SimpleQueue[PlayEvent | None] = queue.SimpleQueue()
        self._status = ""
        self._error: Exception | None = None
        self._pid: int | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(runner, settings), name="ansible")
        self._thread.start()

    @property
    def status(self) -> str:
        """How it ended."""
        if self._error is not None:
            raise self._error
        return self._status

    def end(self) -> None:
        """End Ansible if it runs, and wait for its end."""
        try:
            if self._thread.is_alive() and self._pid is not None:
                # Its workers are in sessions of their own, and it alone knows them; ansible-runner would kill it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGTERM)
                self._thread.join(_GRACE)
        finally:
            # Also when another Ctrl-C comes meanwhile: nothing may go on behind a program that has ended.
            self._given_up.set()
        self._thread.join()

    def _play(self, runner: Any, settings: Mapping[str, Any]) -> None:
        try:
            ended = runner.run(
                **settings,
                settings={"pexpect_timeout": _CHECKED_EVERY, "suppress_output_file": True},
                quiet=True,
                event_handler=self._take,
                cancel_callback=self._given_up.is_set,
            )
            self._status = ended.status
        except Exception as error:  # ours or ansible-runner's; told where it is heard
            self._error = error
        finally:
            self.events.put(None)

    def _take(self, raw: Mapping[str, Any]) -> bool:
        if "pid" in raw:
            self._pid = raw["pid"]
        event = play_event(raw)
        if event is not None:
            self.events.put(event)
        return False  # or it would be written to the disk


def _ansible_runner() -> Any:
    try:
        return importlib.import_module("ansible_runner")
    except ModuleNotFoundError:
        raise StartupError(
            "Ansible is not installed here, and it is what sets up other machines; pip install 'fedtier[deploy]'"
        ) from None
