"""Client processes that take part with `Noted`, told apart by what they print, note and leave on disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedtier.tensors import write_arrays
from fedtier.upstream import file_sha256
from tests.system import wanderer
from tests.system.federation import Federation, Process

TASK: Final = f"{wanderer.__file__}:{wanderer.Noted.__name__}"
KEPT: Final = "the update of round 1 stays on disk, and the next start sends it if its round is still open"


def write_model(folder: Path) -> Path:
    """Write the model that rounds begin with."""
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        write_arrays(file, {"mean": np.zeros(100, np.float32)})
    return path


class Client:
    """One client, on one state directory however often it is started.

    Parameters
    ----------
    federation : Federation
    client_id : str
    task : str
        `Noted`, or a kind of it.
    """

    def __init__(self, federation: Federation, client_id: str, task: str = TASK) -> None:
        self.client_id = client_id
        self.data = federation.folder / f"{client_id}-data"
        self.data.mkdir()
        self._program = federation.lasting_client(client_id, "--data", str(self.data), "--task", task)
        self.state_dir = self._program.state_dir
        self.syncs: Final = self._program.syncs

    @property
    def process(self) -> Process:
        return self._program.process

    def start(self, server: str, *flags: str) -> None:
        self._program.run("--server", server, *flags)

    def await_fact(self, event: str) -> Mapping[str, Any]:
        """Return the next fact of this name."""
        for line in self.process.output:
            fact: dict[str, Any] = json.loads(line)
            if fact["event"] == event:
                return fact
        raise AssertionError(f"{self.client_id} ended without {event!r}\n{self.process.log_end()}")

    def facts(self) -> list[dict[str, Any]]:
        """Return the facts that are left, once it has ended."""
        return [json.loads(line) for line in self.process.output]

    def keep_in_training(self, round_number: int) -> None:
        """Have the training of a round go on until `end_training`."""
        os.mkfifo(self._gate(round_number))

    def await_training(self, round_number: int) -> None:
        """Return when it is in the midst of the training of a round."""
        self.process.wait_until(lambda: round_number in self.trained, f"{self.client_id} trains")

    def end_training(self, round_number: int) -> None:
        """Let the training of a round end, once it is under way; the next one of that round is not kept."""
        gate = self._gate(round_number)
        self.process.wait_until(lambda: _opened(gate), f"{self.client_id} trains")
        gate.unlink()

    def _gate(self, round_number: int) -> Path:
        return self.data / f"gate-{round_number}"

    @property
    def trained(self) -> list[int]:
        """The rounds it trained for, one entry for each training."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.data / "fits").read_text().split()]
        return []

    @property
    def saved(self) -> dict[int, str]:
        """The digests of the updates on its disk, by round."""
        return {int(path.name.split("-")[1]): file_sha256(path) for path in self.state_dir.glob("update-*.safetensors")}


def _opened(gate: Path) -> bool:
    """Return whether somebody was there to read a named pipe, and now has read it to its end."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True
