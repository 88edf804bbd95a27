"""The JSON files of a journal: what they say, and the digest by which each is known to be whole."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedtier.fields import Moment, sha256_hex
from fedtier.rounds import Contributor, Head, RoundPlan


class Damaged(Exception):
    """A file of the journal is not what was written; the journal is lost."""


class Record(BaseModel):
    """What a JSON file of the journal holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EntryRecord(Record):
    """An entry: its file, and whom it stands for."""

    kind: str
    name: str
    sha256: str
    total_weight: int
    contributors: tuple[Contributor, ...]


class CommitRecord(Record):
    """Entries that became durable together; a snapshot stands for all before it."""

    snapshot: bool
    entries: tuple[EntryRecord, ...]


class PlanRecord(Record):
    """What the round is."""

    plan: RoundPlan
    opened_at: Moment


class CloseRecord(Record):
    """The exact bytes that publish the round.

    Parameters
    ----------
    manifest : str
        The manifest's JSON text.
    head : Head
        What head becomes.
    model_sha256 : str
    """

    manifest: str
    head: Head
    model_sha256: str


_Read = TypeVar("_Read", bound=Record)


def sealed(data: bytes) -> bytes:
    """Return a record's bytes behind their SHA-256 in hex and a line feed."""
    return sha256_hex(data).encode() + b"\n" + data


def read_record(path: Path, kind: type[_Read]) -> _Read:
    """Read a sealed record.

    Raises
    ------
    Damaged
        It is not what was written.
    OSError
    """
    digest, newline, data = path.read_bytes().partition(b"\n")
    if not newline or digest.decode("ascii", "replace") != sha256_hex(data):
        raise Damaged(f"{path}: its SHA-256 is not the one it starts with")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise Damaged(f"{path}: {error}") from None
