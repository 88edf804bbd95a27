"""Files that are known by digest, from wherever they can be had.

No source is believed: a file gets its name in the cache when its SHA-256 is right, and
not before.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from urllib3.exceptions import HTTPError

from client.datasets.sources import KnownFile, Source, SourceFailed, Stream
from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier.urls import innermost_cause

Progress: TypeAlias = Callable[[int, int, str], None]
"""Bytes of unpacked data so far, bytes in all, and the source they come from."""

_BLOCK: Final = 1 << 18
_FAILURES: Final = (SourceFailed, OSError, EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, HTTPError)


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """Files that are always the same.

    Parameters
    ----------
    title : str
        What a person calls them together.
    files : tuple of KnownFile
    """

    title: str
    files: tuple[KnownFile, ...]

    def fetch(self, cache: Path, sources: Sequence[Source], progress: Progress | None = None) -> Mapping[str, Path]:
        """Return where each file lies, fetched from the first source that has it right.

        Parameters
        ----------
        cache : Path
            A directory, made when it is missing; several processes may use it at once.
        sources : sequence of Source
            Asked in this order for what the cache lacks.
        progress : callable, optional

        Raises
        ------
        StartupError
            Names every source that was tried and why it did not do.
        """
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(f"the cache directory {cache} cannot be used: {error}") from None
        tried: list[str] = []
        for source in sources:
            if not (missing := self._missing(cache)):
                break
            try:
                self._take(source, missing, cache, progress)
            except _FAILURES as error:
                tried.append(f"{source.name} ({innermost_cause(error)})")
        if missing := self._missing(cache):
            raise StartupError(
                f"{self.title} cannot be had: {', '.join(file.name for file in missing)} missing after trying "
                f"{'; '.join(tried) or 'no source'}; put the files into a directory and name it with --data-dir"
            )
        return {file.name: cache / file.name for file in self.files}

    def _missing(self, cache: Path) -> list[KnownFile]:
        return [file for file in self.files if not _is_right(cache / file.name, file)]

    def _take(self, source: Source, missing: Sequence[KnownFile], cache: Path, progress: Progress | None) -> None:
        total = sum(file.size for file in self.files)
        done = total - sum(file.size for file in missing)
        with closing(source.streams(missing)) as streams:
            for file, stream in streams:

                def advance(file_bytes: int, before: int = done) -> None:
                    if progress is not None:
                        progress(before + file_bytes, total, source.name)

                _store(file, stream, cache, advance)
                done += file.size


def _store(file: KnownFile, stream: Stream, cache: Path, advance: Callable[[int], None]) -> None:
    """Copy a stream into the cache if it is the file."""
    temporary = cache / f"{file.name}.{uuid.uuid4().hex}"
    try:
        digest, size = hashlib.sha256(), 0
        with temporary.open("xb") as copy:
            # Not further than just past the size: a small packed file can unpack to any length.
            while size <= file.size and (block := stream.read(_BLOCK)):
                copy.write(block)
                digest.update(block)
                size += len(block)
                advance(min(size, file.size))
        if size > file.size:
            raise SourceFailed(f"{file.name} is longer than the {file.size} bytes it should have")
        if digest.hexdigest() != file.sha256:
            raise SourceFailed(f"{file.name} has {size} bytes with SHA-256 {digest.hexdigest()}, wanted {file.sha256}")
        _rename(temporary, cache / file.name, file)
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path, file: KnownFile) -> None:
    try:
        os.replace(temporary, path)
    except PermissionError:
        # Windows: another process just made the same file and reads it.
        if not _is_right(path, file):
            raise


def _is_right(path: Path, file: KnownFile) -> bool:
    try:
        return path.stat().st_size == file.size and file_sha256(path) == file.sha256
    except OSError:
        return False
