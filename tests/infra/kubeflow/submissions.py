"""``python -m infra.kubeflow.submit`` as a person calls it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.infra.programs import CHECKOUT

PATIENCE: Final = 120.0
"""Seconds after which one that should have ended long ago is taken for stuck."""


def submit(*words: str) -> subprocess.CompletedProcess[str]:
    """Submit, and follow the run to its end."""
    return subprocess.run(_command(*words), **_SURROUNDINGS, capture_output=True, timeout=PATIENCE, check=False)


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Submit, and go on while the run is followed; who follows it ends with the block."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(_command(*words), **_SURROUNDINGS, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


_SURROUNDINGS: dict[str, Any] = {
    "cwd": CHECKOUT,
    "env": {name: value for name, value in os.environ.items() if not name.startswith("FEDTIER_")},
    "text": True,
}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "infra.kubeflow.submit", *words]
