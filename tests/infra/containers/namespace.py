"""Namespaces for containers: what runs in there sees a network of its own, and all of it ends with the context."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

PREFIX = "podman-"
"""What names of their folders begin with."""
_BOOT = Path(__file__).with_name("boot.sh")
_CLONE_NEWNET = 0x40000000
_SECONDS_TO_END = 120.0
_TAIL = 6000


class Namespace:
    """Mounts, processes and, if wanted, a network apart from the machine's.

    When the context ends, or the process that opened it dies however it does, everything in there is killed and
    unmounted, and `folder` is removed.

    Parameters
    ----------
    parent
        Where `folder` is made, for the files of what runs in there.
    own_network
        Whether the network is one of its own, which reaches nothing outside, or the machine's.
    """

    def __init__(self, parent: Path, *, own_network: bool) -> None:
        self._parent = parent
        self._network = "own" if own_network else "shared"
        self._process: subprocess.Popen[str] | None = None
        self._first = 0
        self.folder = parent

    def __enter__(self) -> Namespace:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent.resolve()))
        self._process = subprocess.Popen(
            ["bash", str(_BOOT), str(self.folder), self._network],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then end it
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if self._process.stdout.readline() != "ready\n":
            why = self._process.stderr.read()
            self._end()
            raise RuntimeError(f"no namespaces for containers: {why}")
        self._first = _only_child(_only_child(self._process.pid))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another in there."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid", "--net", "--cgroup", "--", *words]

    def run(
        self, *words: str, variables: Mapping[str, str], timeout: float, check: bool, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in there and return what came of it; a failure shows the end of what it printed."""
        done = subprocess.run(
            self.command(*words),
            env=variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            printed = (done.stdout + done.stderr)[-_TAIL:]
            raise RuntimeError(f"{shlex.join(words)}: status {done.returncode}\n{printed}")
        return done

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread, and threads and processes that it starts, use the network in there while the context lasts.

        A socket stays in the network that it was made in, whoever uses it later.
        """
        with _network_of("/proc/thread-self/ns/net") as outside, _network_of(f"/proc/{self._first}/ns/net") as inside:
            _set_network(inside)
            try:
                yield
            finally:
                _set_network(outside)

    def _end(self) -> None:
        assert self._process is not None
        with self._process as process:  # closes the standard input that everything in there lives by
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_SECONDS_TO_END)
            finally:
                process.kill()


@contextlib.contextmanager
def _network_of(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _only_child(pid: int) -> int:
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
