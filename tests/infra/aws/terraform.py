"""Terraform as a program: where it and its AWS provider are on this machine, its commands, and what they changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3] / "infra" / "terraform"
NOT_OURS: Final = shutil.ignore_patterns(".terraform*", "*.tfstate*", "terraform.tfvars", "*.auto.tfvars")
"""What lies beside the configuration where somebody uses it, for `shutil.copytree`."""
_TIMEOUT: Final = 900.0
"""Seconds that no command takes unless it hangs."""
_NO_DISKS: Final = {Path("/proc"), Path("/sys"), Path("/dev"), Path("/run")}
_PROVIDER: Final = Path("hashicorp", "aws")


class NotHere(Exception):
    """Terraform or its AWS provider cannot be had on this machine."""


class TerraformFailed(Exception):
    """A command of Terraform ended with an error; the message is what it printed."""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """Something that is made, changed or removed; `action` is `create`, `update`, `delete` or `replace`."""

    address: str
    action: str


@dataclass(frozen=True, slots=True)
class Terraform:
    """The commands of Terraform in one folder."""

    program: str
    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def run(self, *words: str) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            [self.program, *words],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise TerraformFailed(f"terraform {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def changes(self, *words: str, kind: str) -> frozenset[Change]:
        """Run a command that tells of changes in JSON lines, and return those of one kind of line."""
        return frozenset(_changes(self.run(*words, "-json", "-input=false"), kind))

    def outputs(self) -> dict[str, Any]:
        """Return the values of all outputs."""
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}


def _changes(printed: str, kind: str) -> Iterator[Change]:
    for line in printed.splitlines():
        event = json.loads(line)
        if event["type"] == kind:
            told = event.get("change") or event["hook"]
            if told["action"] not in {"noop", "read"}:
                yield Change(told["resource"]["addr"], told["action"])


def find_terraform(scratch: Path) -> tuple[str, dict[str, str]]:
    """Return the program and the variables by which it finds its AWS provider on this machine.

    Raises
    ------
    NotHere
        One of both cannot be had.
    """
    program = shutil.which("terraform")
    if program is None:
        raise NotHere("Terraform is not installed")
    probe = Terraform(program, scratch / "probe", surroundings())
    probe.folder.mkdir()
    shutil.copy(ROOT / "versions.tf", probe.folder)
    for extra in ({}, _mirror(scratch)):
        try:
            Terraform(program, probe.folder, {**probe.environment, **extra}).run(
                "init", "-backend=false", "-input=false"
            )
        except TerraformFailed:
            continue
        return program, extra
    raise NotHere("Terraform's AWS provider is neither on this machine nor to be downloaded")


def surroundings() -> dict[str, str]:
    """Return this process's environment without what tells of an AWS account, or Terraform of another folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    settings = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if Path(settings).is_file():
        kept["TF_CLI_CONFIG_FILE"] = settings
    return kept | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}


def _mirror(scratch: Path) -> dict[str, str]:
    """Return variables by which Terraform finds a mirror of providers that lies somewhere on the disk, if one does."""
    for mirror in mirrors(Path("/"), levels=4):
        data = scratch / "data"
        (data / "terraform").mkdir(parents=True, exist_ok=True)
        (data / "terraform" / "plugins").symlink_to(mirror)
        return {"XDG_DATA_DIRS": f"{data}:{os.environ.get('XDG_DATA_DIRS', '/usr/local/share:/usr/share')}"}
    return {}


def mirrors(folder: Path, *, levels: int) -> Iterator[Path]:
    """Yield the folders, so many levels deep, in which one is named like a host and holds the provider."""
    try:
        inner = [Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in inner:
        if "." in path.name and (path / _PROVIDER).is_dir():
            yield folder
    if levels > 1:
        for path in inner:
            if path not in _NO_DISKS:
                yield from mirrors(path, levels=levels - 1)
