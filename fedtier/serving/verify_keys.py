"""The public keys that a server verifies tokens with, read again when their files change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from fedtier.flags import read_text
from fedtier.problems import StartupError
from fedtier.tokens import Bearer, TokenVerifier, Verifier

VERIFY_KEYS: Final = "FEDTIER_VERIFY_KEYS"
LOOK_SECONDS: Final = 5.0
"""How long after a change of the files it may take until it is noticed."""
_Seen: TypeAlias = tuple[tuple[str, int, int, int], ...]


def token_verifier(
    audience: str, *, clock: Callable[[], float] = time.monotonic, environment: Mapping[str, str] = os.environ
) -> Verifier | None:
    """Return the verifier for the keys in ``FEDTIER_VERIFY_KEYS``, or None where it is not set.

    It holds PEM text, or paths joined like those of PATH; a path is that of a file, or of a folder whose
    files ``*.pem`` are the keys.

    Parameters
    ----------
    audience : str
        The federation's name.
    clock : callable
        Monotonic seconds.
    environment : Mapping of str to str

    Raises
    ------
    StartupError
    """
    value = environment.get(VERIFY_KEYS, "").strip()
    if not value:
        return None
    if value.startswith("-----BEGIN"):
        return TokenVerifier([_public(value, VERIFY_KEYS)], audience=audience)
    paths = [Path(path) for path in value.split(os.pathsep) if path]
    return KeyFiles(paths, audience=audience, clock=clock)


class KeyFiles:
    """A verifier for the keys in some files, made anew when one of them changes, comes or goes.

    While what the files hold cannot be used, the keys that were there are used further.

    Parameters
    ----------
    paths : sequence of Path
        Files, and folders with files ``*.pem``.
    audience : str
    clock : callable
        Monotonic seconds.

    Raises
    ------
    StartupError
    """

    def __init__(self, paths: Sequence[Path], *, audience: str, clock: Callable[[], float]) -> None:
        self._paths = tuple(paths)
        self._audience = audience
        self._clock = clock
        self._looking = threading.Lock()
        self._log = structlog.get_logger()
        self._seen = _look(self._paths)
        self._verifier = self._read()
        self._next_look = clock() + LOOK_SECONDS

    def verify(self, token: str) -> Bearer:
        """Return who the bearer of a token is; see `TokenVerifier.verify`."""
        if self._clock() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._renew()
            finally:
                self._next_look = self._clock() + LOOK_SECONDS
                self._looking.release()
        return self._verifier.verify(token)

    def _renew(self) -> None:
        seen = _look(self._paths)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._verifier = self._read()
        except StartupError as error:
            self._log.error("the verify keys changed and cannot be used; those before them are kept", reason=str(error))
        else:
            self._log.info("the verify keys changed", keys=self._verifier.key_ids)

    def _read(self) -> TokenVerifier:
        texts = [_public(read_text(str(file), VERIFY_KEYS), str(file)) for file in _files(self._paths)]
        return TokenVerifier(texts, audience=self._audience)


def _public(text: str, where: str) -> bytes:
    if "PRIVATE KEY" in text:
        raise StartupError(
            f"{where} holds a private key, which no server needs; give it the verify key that fedtier keygen made"
        )
    return text.encode()


def _files(paths: Sequence[Path]) -> list[Path]:
    return [file for path in paths for file in (sorted(path.glob("*.pem")) if path.is_dir() else [path])]


def _look(paths: Sequence[Path]) -> _Seen:
    """Return what tells the files from those that were read."""
    seen = []
    for file in _files(paths):
        try:
            found = file.stat()
        except OSError:
            seen.append((str(file), 0, 0, 0))
        else:
            seen.append((str(file), found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(seen)
