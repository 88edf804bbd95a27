"""One virtual environment per peer, made once and kept in a cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.programs import RunFailedError

_INSTALL_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Package:
    """A peer's distribution, pinned."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Venv:
    """An environment with one peer in it."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> str:
        """Return the path of a console script."""
        return str(self.folder / "bin" / name)

    def environment(self, home: Path) -> Mapping[str, str]:
        """Return variables for programs in it: the checkout on their path, and a home and a temporary folder of a run.

        Parameters
        ----------
        home : Path
            Of the run, so that nothing is left in the user's own.
        """
        kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
        checkout = str(Path(__file__).parents[2])
        return {**kept, "PATH": path, "PYTHONPATH": checkout, "HOME": str(home), "TMPDIR": str(home)}


def installed(cache: Path, package: Package) -> Venv:
    """Return the environment of a peer, made if it is not there.

    Raises
    ------
    RunFailedError
        The package cannot be installed here.
    """
    venv = Venv(cache / f"{package.name}-{package.version}")
    done = venv.folder / "installed"
    if not done.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(venv.folder)], package)
        _run([venv.python, "-m", "pip", "install", "--quiet", f"{package.name}=={package.version}"], package)
        done.touch()
    return venv


def _run(words: list[str], package: Package) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        subprocess.run(words, env=environment, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"{package.name} was not installed in {_INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "pip said nothing").splitlines()[-1]
        raise RunFailedError(f"{package.name} {package.version} cannot be installed: {last}") from None
