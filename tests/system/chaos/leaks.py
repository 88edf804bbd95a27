"""What aggregators hold once nothing goes on: files, sockets and threads of processes, and files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fedtier.serving.shell import SPARE_THREADS
from tests.system.federation import Aggregator

_SOCKETS: Final = 40
"""The listening one, two for each worker below and their unhurried ends, and what the pool to S3 holds: 16."""
_MODELS: Final = 3
_OWN_THREADS: Final = 12
"""Of a tier itself, beside those that answer requests."""


def leaks(aggregator: Aggregator, threads: int) -> list[str]:
    """Return a sentence for whatever is held that need not be.

    Parameters
    ----------
    aggregator : Aggregator
        Is ready, and nobody sends it anything.
    threads : int
        Its ``--threads``.
    """
    held = _held(aggregator.serving_pid)
    files = [name for name in held if name.startswith(str(aggregator.state_dir)) and not _belongs(name)]
    sockets = [name for name in held if name.startswith("socket:")]
    running = len(list(Path(f"/proc/{aggregator.serving_pid}/task").iterdir()))
    found = [f"{aggregator.name} holds {name} open" for name in files]
    if len(sockets) > _SOCKETS:
        found.append(f"{aggregator.name} holds {len(sockets)} sockets")
    if running > threads + SPARE_THREADS + _OWN_THREADS:
        found.append(f"{aggregator.name} has {running} threads")
    return found + [f"{aggregator.name} has left {name}" for name in _left_on_disk(aggregator.state_dir)]


def _held(pid: int) -> list[str]:
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return names


def _belongs(name: str) -> bool:
    return name.endswith("/lock") or "/tensorboard" in name


def _left_on_disk(state_dir: Path) -> list[str]:
    spool = [f"spool/{path.name}" for path in (state_dir / "spool").iterdir()]
    models = [path.name for path in (state_dir / "models").iterdir()]
    journals = [path.name for path in state_dir.iterdir() if path.name.startswith("round-")]
    temporary = [path.name for path in state_dir.rglob("*.tmp")]
    return [
        *spool,
        *temporary,
        *(models if len(models) > _MODELS else []),
        *(journals if len(journals) > 1 else []),
    ]
