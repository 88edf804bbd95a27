"""Steps called in processes of their own, as tasks are, so that they can be stopped and killed like these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.infra.programs import CHECKOUT, environment
from tests.masters import wait_until

PATIENCE: Final = 240.0
"""Seconds after which a task that should have ended long ago is taken for stuck; torch takes its time to start."""
_TRAIN = """
import sys
from pathlib import Path
from typing import Final
from infra.kubeflow.steps.results import Place
from infra.kubeflow.steps.training import train
from infra.kubeflow.steps.workspace import Workspace
root, client_id, server, task = sys.argv[1:]
unasked = Place("https://127.0.0.1:9", "", "")
done = train(Workspace(Path(root)), client_id=client_id, server=server, place=unasked, task=task, seed=0)
print("counted in", done)
"""


@contextmanager
def training(root: Path, client_id: str, server: str, task: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Train as a client while the block lasts; what it prints is appended to its log."""
    with running(_TRAIN, str(root), client_id, server, task, log=log) as process:
        yield process


def await_in(log: Path, condition: Callable[[], object]) -> None:
    """Ask until the answer is true; where it never is, the log tells why."""
    try:
        wait_until(condition, patience=PATIENCE)
    except AssertionError:
        raise AssertionError(log.read_text()) from None


@contextmanager
def running(
    code: str, *arguments: str, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run some lines of Python while the block lasts."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=CHECKOUT,
            env={**environment(), "PYTHONPATH": str(CHECKOUT), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE)
