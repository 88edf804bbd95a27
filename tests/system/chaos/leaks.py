"""What the processes hold while nothing goes wrong, and what is left on disk in the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from tests.system.crashing import POOLED
from tests.system.federation import Aggregator

Held: TypeAlias = Mapping[str, int]
"""How many descriptors and threads, by kind."""

_SLACK: Final = 3
"""So many more may be in use by what goes on just then."""
POOL: Final = "thread of the pool"
"""A server makes one whenever all it has are busy, up to its `--threads`, and keeps it: more of them are no leak."""
_MODELS: Final = 3


def held_by(pid: int) -> Held:
    """Return what a process holds now: descriptors by what they are, and threads, apart from those of a pool."""
    names = [name for task in Path(f"/proc/{pid}/task").iterdir() if (name := _name_of(task)) is not None]
    pooled = sum(bool(name.strip()) and POOLED.startswith(name.strip()) for name in names)
    held = {"thread": len(names) - pooled, POOL: pooled}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(entry.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        kind = "file" if name.startswith("/") else name.partition(":")[0]
        held[kind] = held.get(kind, 0) + 1
    return held


def _name_of(task: Path) -> str | None:
    """Return a thread's name; None where it has ended meanwhile."""
    try:
        return (task / "comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


def least(samples: list[Held]) -> Held:
    """Return the least of what was held at several times, which is what is held all the time."""
    kinds = {kind for sample in samples for kind in sample}
    return {kind: min(sample.get(kind, 0) for sample in samples) for kind in kinds}


def grown(before: Held, after: Held) -> list[str]:
    """Return a phrase for each kind of which more is held than what goes on explains."""
    return [
        f"{kind}: {before.get(kind, 0)} became {count}"
        for kind, count in after.items()
        if kind != POOL and count > before.get(kind, 0) + _SLACK
    ]


def left_on_disk(aggregator: Aggregator) -> list[str]:
    """Return what lies in a state directory, and need not, while nothing goes on."""
    state_dir = aggregator.state_dir
    models = [path.name for path in (state_dir / "models").iterdir()]
    journals = [path.name for path in state_dir.iterdir() if path.name.startswith("round-")]
    return [
        *(f"spool/{path.name}" for path in (state_dir / "spool").iterdir()),
        *(path.name for path in state_dir.rglob("*.tmp")),
        *(models if len(models) > _MODELS else []),
        *(journals if len(journals) > 1 else []),
    ]
