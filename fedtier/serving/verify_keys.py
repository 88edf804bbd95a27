"""The public keys that a server verifies tokens with, and the tokens it refuses, read again when their files change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from fedtier.flags import read_text
from fedtier.problems import StartupError
from fedtier.revocations import read_revocations
from fedtier.tokens import Bearer, TokenVerifier, Verifier

VERIFY_KEYS: Final = "FEDTIER_VERIFY_KEYS"
LOOK_SECONDS: Final = 5.0
"""How long after a change of the files it may take until it is noticed."""
_Seen: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a server goes by when it looks at tokens.

    Parameters
    ----------
    audience : str
        The federation's name.
    revoked : Path or None
        File of `fedtier.revocations`.
    """

    audience: str
    revoked: Path | None = None


def token_verifier(
    rules: TokenRules, *, clock: Callable[[], float] = time.monotonic, environment: Mapping[str, str] = os.environ
) -> Verifier | None:
    """Return the verifier for the keys in ``FEDTIER_VERIFY_KEYS``, or None where it is not set.

    It holds PEM text, or paths joined like those of PATH; a path is that of a file, or of a folder whose
    files ``*.pem`` are the keys.

    Parameters
    ----------
    rules : TokenRules
    clock : callable
        Monotonic seconds.
    environment : Mapping of str to str

    Raises
    ------
    StartupError
        A file cannot be used, or revocations are named where nothing is verified.
    """
    value = environment.get(VERIFY_KEYS, "").strip()
    if not value and rules.revoked is not None:
        raise StartupError(f"--revoked {rules.revoked} needs tokens, and {VERIFY_KEYS} is not set; set it")
    if not value:
        return None
    sources = [value] if _is_pem(value) else [path for path in value.split(os.pathsep) if path]
    return FileVerifier(sources, rules, clock=clock)


class FileVerifier:
    """A verifier that is made anew when a file of keys or revocations changes, comes or goes.

    While what the files hold cannot be used, what was there before is used further.

    Parameters
    ----------
    keys : sequence of str
        PEM text, and paths of files and of folders with files ``*.pem``.
    rules : TokenRules
    clock : callable
        Monotonic seconds.

    Raises
    ------
    StartupError
    """

    def __init__(self, keys: Sequence[str], rules: TokenRules, *, clock: Callable[[], float]) -> None:
        self._keys = tuple(keys)
        self._rules = rules
        self._clock = clock
        self._looking = threading.Lock()
        self._log = structlog.get_logger()
        self._seen = self._look()
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
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._verifier = self._read()
        except StartupError as error:
            self._log.error("changed keys or revocations cannot be used; those before are kept", reason=str(error))
        else:
            self._log.info(
                "changed keys or revocations are used from now on",
                keys=self._verifier.key_ids,
                revoked=self._verifier.revoked_subjects,
            )

    def _read(self) -> TokenVerifier:
        sources = _spread(self._keys)
        if not sources:
            raise StartupError(
                f"no public key found: no file in {os.pathsep.join(self._keys)} ends with .pem; "
                f"put a verify key there, or name its file in {VERIFY_KEYS}"
            )
        texts = [_public(read_text(source, VERIFY_KEYS), source) for source in sources]
        revoked, path = {}, self._rules.revoked
        if path is not None:
            revoked = dict(read_revocations(_text(path), f"--revoked {path}"))
        return TokenVerifier(texts, audience=self._rules.audience, revoked=revoked)

    def _look(self) -> _Seen:
        """Return what tells the files from those that were read."""
        files = [source for source in _spread(self._keys) if not _is_pem(source)]
        return tuple(_mark(file) for file in (*files, *([str(self._rules.revoked)] if self._rules.revoked else [])))


def _public(text: str, source: str) -> bytes:
    where = VERIFY_KEYS if _is_pem(source) else source
    if "PRIVATE KEY" in text:
        raise StartupError(
            f"{where} holds a private key, which no server needs; give it the verify key that fedtier keygen made"
        )
    pem = text.encode()
    try:
        TokenVerifier([pem])
    except StartupError as error:
        raise StartupError(f"{where}: {error}") from None
    return pem


def _is_pem(source: str) -> bool:
    return source.startswith("-----BEGIN")


def _spread(sources: Sequence[str]) -> list[str]:
    """Return the sources with the key files of a folder instead of the folder."""
    return [one for source in sources for one in (_keys_in(source) if _is_folder(source) else [source])]


def _is_folder(source: str) -> bool:
    return not _is_pem(source) and os.path.isdir(source)


def _keys_in(folder: str) -> list[str]:
    return sorted(str(file) for file in Path(folder).glob("*.pem"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # as some editors begin a file
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise StartupError(f"--revoked {path} cannot be read: {reason}; an empty file revokes nobody") from None


def _mark(file: str) -> tuple[str, int, int, int]:
    try:
        found = Path(file).stat()
    except OSError:
        return file, 0, 0, 0
    return file, found.st_mtime_ns, found.st_size, found.st_ino
