"""Build the wheel of this checkout once for each content: ``python -m scripts.build_wheel --to FOLDER``.

Prints one JSON object: ``id``, which names the content (code, metadata, pinned versions), ``wheel``, its path,
``made``, whether it was built now, ``requirements``, by extra, and ``pinned``, which names their versions. The same
content has the same id on any machine, so that whoever installs it can tell by the id that nothing is to be done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_METADATA: Final = ("pyproject.toml", "README.md", "LICENSE")
_PINNED: Final = "constraints.txt"
_ID_CHARACTERS: Final = 16
_EPOCH: Final = "1577836800"
"""The time that all files of a wheel have, 2020-01-01: a wheel's bytes say what is in it and nothing else."""


def shipped(checkout: Path) -> list[Path]:
    """Return the files that decide what is installed, relative to the checkout, in order."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    data = [pattern for patterns in settings["package-data"].values() for pattern in patterns]
    found = {Path(name) for name in (*_METADATA, _PINNED)}
    for package in (name.rstrip("*") for name in settings["packages"]["find"]["include"]):
        for pattern in ("*.py", "py.typed", *(Path(one).name for one in data)):
            found.update(path.relative_to(checkout) for path in (checkout / package).rglob(pattern))
    return sorted(found)


def requirements(checkout: Path) -> dict[str, list[str]]:
    """Return the packages that each extra needs beside our own; ``""`` is what all of them need."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def content_id(checkout: Path, files: list[Path]) -> str:
    """Return what names the content of these files."""
    digest = hashlib.sha256()
    for path in files:
        content = (checkout / path).read_bytes()
        digest.update(f"{path.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:_ID_CHARACTERS]


def build(checkout: Path, files: list[Path], target: Path) -> Path:
    """Build the wheel into a folder, which appears whole or not at all, and return its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        # A copy: in the checkout, what earlier builds left behind would be packed too.
        source, made = Path(temporary) / "source", Path(temporary) / "made"
        for path in files:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / path, source / path)
        call = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(made), str(source)]
        subprocess.run(call, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": _EPOCH}, stdout=sys.stderr)
        try:
            made.rename(target)
        except OSError:  # another call was first
            if not target.is_dir():
                raise
    return next(_wheels(target))


def _wheels(folder: Path) -> Iterator[Path]:
    return folder.glob("*.whl")


def main() -> None:
    """Build what is not there yet, and say where it is."""
    parser = argparse.ArgumentParser(description="Build the wheel of this checkout once for each content.")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="Folder of all wheels.")
    folder: Path = parser.parse_args().to
    checkout = Path(__file__).resolve().parent.parent
    files = shipped(checkout)
    name = content_id(checkout, files)
    found = next(_wheels(folder / name), None)
    wheel = found or build(checkout, files, folder / name)
    facts = {"id": name, "wheel": str(wheel), "made": found is None}
    pinned = content_id(checkout, [Path(_PINNED)])
    print(json.dumps({**facts, "requirements": requirements(checkout), "pinned": pinned}))


if __name__ == "__main__":
    main()
