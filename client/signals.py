"""SIGTERM tells a client to stop, and sees to it that it does."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

from client.stopping import Stopping

_COMING_BACK: Final = 1.0
"""Seconds after the grace in which the main thread has to come back from what was broken off."""
_CREDENTIALS: Final = struct.Struct("3i")
"""With which a writer's process id, user and group come (unix(7))."""
_SAVING: Final = 300.0
"""Seconds after the grace in which it has to come back from what is not broken off."""


@contextmanager
def stopped_by_sigterm(stopping: Stopping, *, grace: float, saving: float = _SAVING) -> Iterator[None]:
    """Have SIGTERM stop the client that the main thread runs in the block.

    Python calls signal handlers between its own instructions only, so foreign code at work (a solver
    in C, a name that does not resolve) holds them up. A thread that hears of the signal
    without the main one ends the process where it is still there after the grace, with the status of
    clients that are told to stop.

    Parameters
    ----------
    stopping : Stopping
    grace : float
        Seconds that an upload may still take.
    saving : float
        Seconds after the grace that what is not broken off may still take, such as an update that is being saved.
    """
    if not hasattr(signal, "pthread_kill"):
        yield  # Windows ends a process without telling it
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    if hasattr(socket, "SO_PASSCRED"):
        # A process that is being forked has the handler, and so this socket, until it takes them back.
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    main_thread, process = threading.get_ident(), os.getpid()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == process:
            stopping.ask()

    def leave_alone() -> None:
        """Take it back in a process that a task forked: whoever ends that one does not mean the client."""
        if signal.getsignal(signal.SIGTERM) is ask:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, ask)
    woken_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    _have_forked_processes(leave_alone)
    over = threading.Event()

    def see_to_it() -> None:
        """Wait for SIGTERM, and end the process when its time is over; it mostly has ended by itself then."""
        if not _hears_sigterm(heard):
            return
        time.sleep(grace)
        stopping.end_grace()
        signal.pthread_kill(main_thread, signal.SIGTERM)
        _await_end_of_saving(stopping, over, saving)
        _end_without_main_thread(stopping)

    threading.Thread(target=see_to_it, name="sigterm", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        # The end is near: a second SIGTERM must not make another status of it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN if stopping.asked else before)
        told.close()
        over.set()


def _have_forked_processes(leave_alone: Callable[[], None]) -> None:
    """Have every process that is forked from now on call something first, and get a SIGTERM only then.

    Python forgets the signals that a process gets before it is ready. One that was meant to end it would be lost, and
    whoever waits for the end, such as a pool, would wait for ever.
    """
    masks = threading.local()

    def hold_back() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def let_come() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def begin() -> None:
        leave_alone()
        let_come()

    os.register_at_fork(before=hold_back, after_in_parent=let_come, after_in_child=begin)


def _hears_sigterm(heard: socket.socket) -> bool:
    """Wait for a SIGTERM to this process; return False where it can come no more."""
    while True:
        numbers, credentials, _, _ = heard.recvmsg(64, socket.CMSG_SPACE(_CREDENTIALS.size))
        if not numbers:
            return False
        if signal.SIGTERM in numbers and _is_ours(credentials):
            return True


def _is_ours(credentials: list[tuple[int, int, bytes]]) -> bool:
    """Return whether this process wrote something; where the system does not tell who did, it is taken to have."""
    return all(_CREDENTIALS.unpack(writer)[0] == os.getpid() for _, _, writer in credentials)


def _await_end_of_saving(stopping: Stopping, over: threading.Event, seconds: float) -> None:
    """Return when there is no more to wait for: all is over, or what is under way should have broken off."""
    until = time.monotonic() + seconds
    time.sleep(_COMING_BACK)
    while not stopping.breaks_off and not over.is_set() and time.monotonic() < until:
        over.wait(_COMING_BACK)
    if over.is_set():
        time.sleep(_COMING_BACK)


def _end_without_main_thread(stopping: Stopping) -> NoReturn:
    # In a thread of its own: where nobody reads what is written, words do not come to an end either.
    speaker = threading.Thread(target=stopping.last_words, name="last words", daemon=True)
    speaker.start()
    speaker.join(_COMING_BACK)
    os._exit(stopping.exit_status())
