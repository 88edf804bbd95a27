"""Starts the tiers as processes, on free ports of one loopback address, and ends every one of them.

Examples
--------
>>> with Federation(tmp_path, s3_server, bucket_key) as federation:  # doctest: +SKIP
...     master = federation.master(model, "--threshold", "10")
...     edge = federation.worker("edge", upstream=master)
...     edge.kill()
...     edge.start()
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self
from urllib.parse import urlsplit

import requests

from fedtier.rounds import RoundManifest, RoundStatus
from tests.s3_servers import S3Server
from tests.system.crashing import Orders, syncs_beside
from tests.system.guards import Guard

PATIENCE: Final = 60.0
"""Seconds after which something that should have happened long ago is taken for broken."""
_POLL: Final = 0.02
_CHECKOUT: Final = Path(__file__).parents[2]
_LOG_SHOWN: Final = 3000


def fedtier(*arguments: str, orders: Path | None = None) -> list[str]:
    """Return the command line of a program, with facts as JSON; it obeys the orders in a file."""
    program = ["fedtier_cli.main"] if orders is None else ["tests.system.crashing", str(orders)]
    return [sys.executable, "-m", *program, *arguments, "--json"]


def environment(s3: S3Server, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a process: this one's without settings of its own, and the way to S3."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FEDTIER_"))}
    return {**inherited, **s3.environment, "PYTHONPATH": str(_CHECKOUT), **(extra or {})}


class Process:
    """A program that runs until it ends or is ended.

    Parameters
    ----------
    name : str
        Of its log.
    arguments : sequence of str
    folder : Path
        Where its log lies, and where it runs.
    variables : Mapping of str to str
        Its environment.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                arguments,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.pid: Final = self._popen.pid

    @property
    def output(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def wait(self, seconds: float | None = PATIENCE) -> int:
        """Return its exit status once it has ended."""
        return self._popen.wait(seconds)

    @property
    def runs(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once something holds that this process is to bring about."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s\n{self.log_end()}"
            try:
                status = self._popen.wait(_POLL)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"{what}: {self.name} ended with status {status}\n{self.log_end()}")

    def log_end(self) -> str:
        """Return the end of what this process has logged, and no earlier one of its name."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return f"{self.log.name}: {log.read().decode(errors='replace')[-_LOG_SHOWN:]}"

    def end(self) -> None:
        """Kill it and whatever it started, unless it has ended."""
        if self._popen.poll() is None:  # after that the id may be another process's
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(PATIENCE)
        self.output.close()


class Program:
    """What is started, ends, and is started again on the same state directory.

    Parameters
    ----------
    name : str
    arguments : sequence of str
        The program and its flags, without those that `Program` itself knows.
    folder : Path
    variables : Mapping of str to str
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.state_dir = folder / f"{name}-state"
        self.orders = Orders(folder / f"{name}.orders")
        self._orders_path = folder / f"{name}.orders"
        self.syncs: Final = syncs_beside(self._orders_path)
        """Where it counts how often it has the disk confirm what was written."""
        self._arguments = tuple(arguments)
        self._folder = folder
        self._variables = variables
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def run(self, *flags: str) -> Process:
        """Start it; what is left of an earlier process is ended first."""
        self.end()
        command = fedtier(*self._arguments, *flags, "--state-dir", str(self.state_dir), orders=self._orders_path)
        self._process = Process(self.name, command, self._folder, self._variables)
        return self._process

    def start(self) -> None:
        self.run()

    def crash(self) -> None:
        """Kill it and all that belongs to it, wherever it is; whoever waits for its end is told."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Leave nothing of it behind, in whatever state it is."""
        if self._process is not None:
            self._process.end()


class Aggregator(Program):
    """A master or worker; started again, it is at the same address.

    Parameters
    ----------
    name, arguments, folder, variables
        See `Program`.
    host : str
    asking : Mapping
        What `requests` needs to be let in.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        host: str,
        variables: Mapping[str, str],
        asking: Mapping[str, Any],
    ) -> None:
        super().__init__(name, arguments, folder, variables)
        self.host = host
        self.port = 0
        self._scheme = "http"
        self._asking = asking

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}:{self.port}"

    @property
    def serving_pid(self) -> int:
        """The id of the process that serves: gunicorn's only child."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def start(self, *, port: int | None = None, ready: bool = True) -> None:
        """Start it and return when it listens, or when it is ready for work."""
        self.run("--host", self.host, "--port", str(self.port if port is None else port))
        line = self.process.output.readline()
        assert line, f"{self.name} ended with status {self.process.wait()}\n{self.process.log_end()}"
        fact = json.loads(line)
        assert fact["event"] == "listening"
        address = urlsplit(fact["url"])
        self._scheme, self.port = address.scheme, address.port or 0
        if ready:
            self.wait_until_ready()

    def stop(self) -> int:
        """End it as an operator does, and return its exit status."""
        self.process.signal(signal.SIGTERM)
        status = self.process.wait()
        self.process.end()
        return status

    def restart(self) -> None:
        status = self.stop()
        assert status == 0, f"{self.name} ended with status {status}\n{self.process.log_end()}"
        self.start()

    def kill(self) -> None:
        """Kill it; return when nothing of it is left."""
        serving = os.pidfd_open(self.serving_pid)
        try:
            self.process.signal(signal.SIGKILL)
            gone, _, _ = select.select([serving], [], [], PATIENCE)
        finally:
            os.close(serving)
        assert gone, f"the serving process of {self.name} outlives it"
        self.process.end()

    def lose_disk(self) -> None:
        """Leave its state directory empty; it may be the root of a file system."""
        for path in self.state_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from doing anything; connections to it stay open."""
        serving = self.serving_pid
        os.kill(serving, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(serving, signal.SIGCONT)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=PATIENCE, **self._asking)

    def status(self) -> RoundStatus:
        response = self.get("/v1/round")
        response.raise_for_status()
        return RoundStatus.from_json(response.content)

    def is_ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def wait_until_ready(self) -> None:
        self.process.wait_until(self.is_ready, f"{self.name} is ready")

    def wait_for_round(self, number: int) -> None:
        """Return when it shows this round, or a later one."""
        self.process.wait_until(lambda: self.status().round >= number, f"{self.name} shows round {number}")

    def published(self, number: int) -> RoundManifest:
        """Return a round's manifest, once it is published."""
        self.wait_for_round(number + 1)
        response = self.get(f"/v1/rounds/{number}/manifest")
        response.raise_for_status()
        return RoundManifest.from_json(response.content)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return what it logged under a name."""
        lines = self.process.log.read_text().splitlines()
        return [fact for line in lines if line.startswith("{") and (fact := json.loads(line))["event"] == event]


class Federation:
    """The processes of one federation; all are ended with the `with` block, however it ends.

    Parameters
    ----------
    folder : Path
        Where state directories and logs lie.
    s3 : S3Server
    bucket_key : str
    guard : Guard, optional
        Has every process show who it is; without it anyone may come.
    variables : Mapping of str to str, optional
        Of every aggregator's environment.
    """

    def __init__(
        self,
        folder: Path,
        s3: S3Server,
        bucket_key: str,
        guard: Guard | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._variables = variables
        self.bucket_key = bucket_key
        # No outgoing connection takes a port of such an address, and no federation beside this one does, so a stopped
        # aggregator finds its port free again.
        self.host: Final = ".".join(["127", *(str(random.SystemRandom().randrange(2, 255)) for _ in range(3))])
        self._s3 = s3
        self.guard = guard
        self._aggregators: dict[str, Aggregator] = {}
        self._master_arguments: tuple[str, ...] = ()
        self._clients: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for aggregator in self._aggregators.values():
            aggregator.end()
        for client in self._clients:
            client.end()

    def __getitem__(self, name: str) -> Aggregator:
        return self._aggregators[name]

    def master(self, model: Path, *flags: str) -> Aggregator:
        """Start the master, named ``master``."""
        place = ("--bucket-name", self._s3.bucket, "--bucket-key", self.bucket_key, "--web-model", str(model))
        self._master_arguments = ("master", *place, *flags)
        master = self._add("master", self._master_arguments)
        master.start()
        return master

    def another_master(self, name: str) -> Aggregator:
        """Return a second master of the same federation, with a state directory of its own, not started."""
        return self._add(name, self._master_arguments)

    def worker(self, name: str, *flags: str, upstream: str, port: int = 0, ready: bool = True) -> Aggregator:
        """Start a worker under the aggregator at an address."""
        worker = self._add(name, ("worker", "--master", upstream, *flags))
        worker.start(port=port, ready=ready)
        return worker

    def client(self, client_id: str, *flags: str, server: str, variables: Mapping[str, str] | None = None) -> Process:
        """Start a client once."""
        return self.lasting_client(client_id, *flags, server=server, variables=variables).run()

    def lasting_client(
        self, client_id: str, *flags: str, server: str | None = None, variables: Mapping[str, str] | None = None
    ) -> Program:
        """Return a client that can be started, again and again on what it kept; a server may come with each start."""
        place = () if server is None else ("--server", server)
        arguments = ("client", *place, "--client-id", client_id, *flags)
        shown = {} if self.guard is None else self.guard.caller("client", client_id)
        client = Program(client_id, arguments, self.folder, environment(self._s3, {**shown, **(variables or {})}))
        self._clients.append(client)
        return client

    def wait_for_round(self, number: int) -> None:
        """Return when every aggregator shows a round."""
        for aggregator in self._aggregators.values():
            aggregator.wait_for_round(number)

    def _add(self, name: str, arguments: Sequence[str]) -> Aggregator:
        shown = {} if self.guard is None else self.guard.server(name, self.host)
        asking = {} if self.guard is None else self.guard.asking()
        aggregator = Aggregator(
            name, arguments, self.folder, self.host, environment(self._s3, {**(self._variables or {}), **shown}), asking
        )
        self._aggregators[name] = aggregator
        return aggregator
