"""What decides a model's test result besides the model: a task and its test data, as one digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from fedtier.fields import sha256_hex
from fedtier.problems import StartupError

_FILE_TASK: Final = ".py"


def basis_of(task: str, data: Path) -> str:
    """Return a digest that is another one when the task or its test data are.

    Where they lie does not count, so that the same file gives the same digest on every machine.

    Parameters
    ----------
    task : str
        As `client.task.load_task` takes it; of a file task the bytes count too.
    data : Path
        A file, or a folder: the names below it and the contents.

    Returns
    -------
    str
        SHA-256, in hex.

    Raises
    ------
    StartupError
        A file cannot be read, or there are no data.
    """
    where, _, name = task.rpartition(":")
    from_file = where.endswith(_FILE_TASK)
    document = {
        "task": f"{Path(where).name}:{name}" if from_file else task,
        "code": _digest(Path(where), "task") if from_file else None,
        "data": _contents(data),
    }
    return sha256_hex(json.dumps(document).encode())


def _contents(data: Path) -> str | list[tuple[str, str]]:
    if not data.exists():
        raise StartupError(f"the test data {data} do not exist; name others with --data")
    if not data.is_dir():
        return _digest(data, "test data")
    try:
        files = {path.relative_to(data).as_posix(): path for path in data.rglob("*") if path.is_file()}
    except OSError as error:
        raise StartupError(f"the test data {data} cannot be read ({error.strerror}); name others with --data") from None
    return [(name, _digest(path, "test data")) for name, path in sorted(files.items())]


def _digest(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartupError(f"the {what} {path} cannot be read ({error.strerror}); name another") from None
