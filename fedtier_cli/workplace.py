"""Where a command is called: the folder it works under, and what its environment means for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from fedtier.problems import StartupError

HOME: Final = "FEDTIER_HOME"
"""Environment variable: the folder under which run directories and cached data lie."""
_DIRECT: Final = ("127.0.0.1", "localhost")


def home(environment: Mapping[str, str]) -> Path:
    """Return the folder under which run directories and cached data lie: by default the current one."""
    return Path(environment.get(HOME) or Path.cwd())


def absolute_task(task: str) -> str:
    """Return a task in such a form that it means the same from every current directory.

    Raises
    ------
    StartupError
        It names a file that does not exist.
    """
    where, _, name = task.rpartition(":")
    if not where.endswith(".py"):
        return task
    if not Path(where).is_file():
        raise StartupError(f"the task {task!r} cannot be loaded: there is no file {where}")
    return f"{Path(where).resolve()}:{name}"


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the processes of a local run inherit of an environment.

    Left out are our own settings, which are meant for the run and not for its tiers.
    """
    kept = without_own_settings(environment)
    keep_to_this_machine(kept)
    return kept


def without_own_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without our settings, which are meant for a run and not for its processes."""
    return {name: value for name, value in environment.items() if not name.startswith("FEDTIER_")}


def keep_to_this_machine(environment: MutableMapping[str, str]) -> None:
    """Have programs with this environment reach loopback without a proxy, and know no S3 but the one they are told."""
    forget_s3(environment)
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(dict.fromkeys([*filter(None, [environment.get(name)]), *_DIRECT]))


def forget_s3(environment: MutableMapping[str, str]) -> None:
    """Have programs with this environment know no S3."""
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]


def shown(path: Path) -> str:
    """Return a path as a person at this place would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
