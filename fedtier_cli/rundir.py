"""The folder of a local run: where everything of a federation on this machine lies, and who uses it now."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedtier.documents import Lenient
from fedtier.problems import BadRequest, StartupError

BUCKET: Final = "fedtier"
_RECORD: Final = "federation.json"
_LOCK: Final = "lock"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Federation(Lenient):
    """What a run directory is for; written when a run starts, read by whoever comes later.

    Parameters
    ----------
    task : str
        As `client.task.load_task` takes it.
    bucket, bucket_key : str
    test_data : str
        Path of what the task is tested on.
    endpoint : str
        Where the embedded S3 was last; empty before it ran.
    master : str
        Where the master was last; empty before it ran.
    """

    task: str
    bucket: str
    bucket_key: str
    test_data: str
    endpoint: str = ""
    master: str = ""


class InUse(StartupError):
    """Another run uses the directory now."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where things lie in a run's folder."""

    path: Path

    @property
    def s3(self) -> Path:
        """Data of the embedded S3 server."""
        return self.path / "s3"

    @property
    def credentials(self) -> Path:
        """The embedded S3 server's access key and secret, as the server reads them."""
        return self.s3 / "s3-identities.json"

    @property
    def shards(self) -> Path:
        """The clients' shards of a built-in data set."""
        return self.path / "shards"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.path / "logs"

    @property
    def keys(self) -> Path:
        """The run's signing key and its public key; for this user's eyes only."""
        return self.path / "keys"

    @property
    def tokens(self) -> Path:
        """One file per bearer; for this user's eyes only."""
        return self.path / "tokens"

    def token(self, name: str) -> Path:
        """Return the file with the token of a bearer, ``operator`` or ``client-3``."""
        return self.tokens / name

    def state(self, name: str) -> Path:
        """Return the state directory of a process, ``master`` or ``client-3``."""
        return self.path / "state" / name

    def initial_model(self, seed: int) -> Path:
        """Return where the initial model of a seed lies."""
        return self.path / f"initial-{seed}.safetensors"

    def is_in_use(self) -> bool:
        """Return whether a run uses it now."""
        try:
            with (self.path / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    @property
    def has_record(self) -> bool:
        """Whether a run was ever started in it."""
        return (self.path / _RECORD).is_file()

    def read_federation(self) -> Federation | None:
        """Return what the directory is for, or None where no run was started in it.

        Raises
        ------
        StartupError
            The record cannot be read.
        """
        path = self.path / _RECORD
        try:
            return Federation.from_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, BadRequest) as error:
            raise StartupError(f"the record {path} cannot be read ({error}); choose another --run-dir") from None

    def write_federation(self, federation: Federation) -> None:
        """Say what the directory is for."""
        temporary = self.path / f"{_RECORD}.new"
        temporary.write_bytes(federation.to_json())
        temporary.replace(self.path / _RECORD)

    def require_task(self, task: str) -> None:
        """Check that the directory is not another task's.

        Raises
        ------
        StartupError
        """
        federation = self.read_federation()
        if federation is not None and federation.task != task:
            raise StartupError(
                f"the run directory {self.path} belongs to the task {federation.task}, not {task}; "
                "choose another --run-dir"
            )


def label(task: str) -> str:
    """Return a task's name as part of a path or an S3 key: ``path/to/digits.py:Net`` becomes ``digits.Net``."""
    where, _, name = task.rpartition(":")
    parts = [Path(where).stem, name] if where else [name]
    return _UNSAFE.sub("-", ".".join(parts)).strip(".-") or "task"


@contextmanager
def claimed(path: Path) -> Iterator[RunDirectory]:
    """Give a run directory to this process alone, made when it is missing.

    Raises
    ------
    InUse
        Another process has it.
    StartupError
        It cannot be made, or is a folder of other things.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds clients' data
        if not (path / _LOCK).exists() and any(path.iterdir()):
            raise StartupError(f"the folder {path} holds other files; name an empty or a new --run-dir")
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"the run directory {path} cannot be used: {error.strerror}; choose another") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise InUse(
                f"the run directory {path} is in use by a running federation "
                f"(process {os.pread(lock, 20, 0).decode() or 'unknown'}); end it, or choose another --run-dir"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield RunDirectory(path)
    finally:
        os.close(lock)


@contextmanager
def first_free(path: Path) -> Iterator[RunDirectory]:
    """Give the first of ``path``, ``path-2``, ``path-3`` ... that no other run uses."""
    with ExitStack() as held:
        yield _claim_first_free(path, held)


def _claim_first_free(path: Path, held: ExitStack) -> RunDirectory:
    for name in itertools.chain([path.name], (f"{path.name}-{number}" for number in itertools.count(2))):
        with suppress(InUse):
            return held.enter_context(claimed(path.with_name(name)))
    raise AssertionError("the numbers do not end")
