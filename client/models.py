"""The model a client trains from, kept on disk while its round lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from fedtier.rounds import BaseRound
from fedtier.upstream import file_sha256


class BaseModels:
    """Downloaded models in one directory, at most one at a time.

    Parameters
    ----------
    directory : Path
        Exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, base: BaseRound) -> Path:
        """Return where a round's model lies."""
        return self._directory / f"model-{base.sha256}.safetensors"

    def require(self, base: BaseRound, fetch: Callable[[BaseRound, Path], None]) -> Path:
        """Return the verified file of a model, fetched unless it is there already.

        Parameters
        ----------
        base : BaseRound
        fetch : callable
            Downloads the model to a path and verifies it.

        Raises
        ------
        OSError
            Or what `fetch` raises.
        """
        path = self.path(base)
        self._clear_all_but(path)
        # Not fsynced when it was downloaded, so a file from before a crash proves itself.
        if path.exists() and file_sha256(path) != base.sha256:
            path.unlink()
        if not path.exists():
            fetch(base, path)
        return path

    def _clear_all_but(self, wanted: Path) -> None:
        for path in self._directory.glob("model-*.safetensors*"):
            if not path.name.startswith(wanted.name):
                # Windows keeps a file that is still open; the next round clears it.
                with contextlib.suppress(PermissionError):
                    path.unlink()
