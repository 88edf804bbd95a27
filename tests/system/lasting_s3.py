"""An S3 server that can be stopped, in the midst of whatever it does, and started again as it was."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from fedtier_cli.seaweed import Seaweed, free_ports
from tests.s3_servers import BUCKET, S3Server


class LastingS3:
    """SeaweedFS at an address that stays, over any number of starts.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: list[int] = []
        self._lock = threading.Lock()
        self._seaweed: Seaweed | None = None
        self._server: S3Server | None = None
        # Linux ends the server with the thread that started it.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="s3")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._starter.shutdown()

    @property
    def server(self) -> S3Server:
        """The server as programs find it, whether it runs or not."""
        assert self._server is not None, "it was started once"
        return self._server

    def start(self) -> None:
        """Start it and return when it answers."""
        with self._lock:
            if self._seaweed is None:
                seaweed = Seaweed(
                    self._folder / "seaweed", bucket=BUCKET, log=self._folder / "s3.log", choose_ports=self._same_ports
                )
                self._seaweed = self._starter.submit(seaweed.__enter__).result()
                self._server = self._server or S3Server.found_by(seaweed.environment(), BUCKET)

    def stop(self) -> bool:
        """Kill it; what it acknowledged stays. Return whether it ran."""
        with self._lock:
            seaweed, self._seaweed = self._seaweed, None
            if seaweed is not None:
                os.kill(seaweed.pid, signal.SIGKILL)
                seaweed.__exit__(None, None, None)
            return seaweed is not None

    def freeze(self) -> bool:
        """Let it answer nothing; connections to it stay open. Return whether it runs."""
        return self._signal(signal.SIGSTOP)

    def thaw(self) -> bool:
        return self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        with self._lock:
            if self._seaweed is not None:
                os.kill(self._seaweed.pid, number)
            return self._seaweed is not None

    def _same_ports(self, count: int) -> list[int]:
        if len(self._ports) != count:
            self._ports = free_ports(count)
        return self._ports
