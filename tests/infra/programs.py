"""Programs of the checkout as a person calls them: scripts, and commands that print facts while they run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

CHECKOUT = Path(__file__).parents[2]
FEDTIER = str(Path(sys.executable).with_name("fedtier"))
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
_TAIL = 6000


@dataclass(frozen=True, slots=True)
class Play:
    """What a playbook printed, how many tasks changed something on each host, and how long it took."""

    printed: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        return {host: int(changed) for host, _, changed, _, _ in _RECAP.findall(self.printed)}


def environment() -> dict[str, str]:
    """Return the environment of somebody who has set nothing but where MNIST comes from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEDTIER_", "AWS_", "ANSIBLE_"))}
    return kept | {"FEDTIER_MNIST_MIRRORS": os.environ.get("FEDTIER_MNIST_MIRRORS", "")}


def play(script: str, *words: str, inventory: Path) -> Play:
    """Run a script of `infra/ansible`; a failure shows what it printed."""
    command = [str(CHECKOUT / "infra" / "ansible" / script), "--inventory", str(inventory), *words]
    started = time.monotonic()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, f"{script}: status {done.returncode}\n{done.stdout[-_TAIL:]}"
    return Play(done.stdout, time.monotonic() - started)


class Facts:
    """A program that prints facts as JSON lines, ended with the context where it has not ended before."""

    def __init__(self, command: list[str], log: Path, variables: Mapping[str, str] | None = None) -> None:
        self._log = log
        self._seen: list[dict[str, Any]] = []
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment() | dict(variables or {}),
            )

    def __enter__(self) -> Facts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def wait_for(self, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Return the next fact that is wanted; that the program ends before is a failure."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append(json.loads(line))
            if wanted(self._seen[-1]):
                return self._seen[-1]
        raise AssertionError(self._ending("ended without the fact that was waited for"))

    def finish(self) -> list[dict[str, Any]]:
        """Return all facts after the program ended well."""
        assert self._process.stdout is not None
        self._seen += [json.loads(line) for line in self._process.stdout]
        assert self._process.wait() == 0, self._ending("failed")
        return self._seen

    def _ending(self, what: str) -> str:
        facts = "\n".join(map(str, self._seen[-20:]))
        return (
            f"{self._process.args!r} {what}, status {self._process.wait()}\n{facts}\n{self._log.read_text()[-_TAIL:]}"
        )
