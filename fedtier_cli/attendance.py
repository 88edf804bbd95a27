"""Which clients were in which rounds. Pure: manifests in, one record per client out.

A round selects its cohort; one without a cohort selects every client that was expected, or
that was in it or in a round before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from fedtier.rounds import Contributor, RoundManifest

Presence: TypeAlias = Literal["seen", "late", "never seen"]
_DIGITS: Final = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Attendance:
    """What the published rounds say of one client.

    Parameters
    ----------
    client_id : str
    presence : {"seen", "late", "never seen"}
        "seen": it is in the newest round that selected it. "late": it is in some round, but not in that one.
        "never seen": it is in none.
    rounds : int
        How many it is in.
    last_round : int or None
        The newest it is in.
    selected : int
        How many selected it.
    missed : tuple of int
        Rounds that selected it and that it is not in, in order.
    last : Contributor or None
        Its part in the newest round it is in.
    """

    client_id: str
    presence: Presence
    rounds: int
    last_round: int | None
    selected: int
    missed: tuple[int, ...]
    last: Contributor | None


@dataclass(slots=True)
class _Record:
    selected: list[int] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    last: Contributor | None = None


def attendance(rounds: Iterable[RoundManifest], expected: Sequence[str] = ()) -> list[Attendance]:
    """Return the record of every client that was in a round, selected or expected, in the order of their numbers.

    Parameters
    ----------
    rounds : iterable of RoundManifest
        In any order.
    expected : sequence of str
        Clients that should take part.
    """
    records: dict[str, _Record] = {client_id: _Record() for client_id in expected}
    for manifest in sorted(rounds, key=lambda manifest: manifest.round):
        for contributor in manifest.contributors:
            record = records.setdefault(contributor.client_id, _Record())
            record.present.append(manifest.round)
            record.last = contributor
        for client_id in list(records) if manifest.cohort is None else manifest.cohort:
            records.setdefault(client_id, _Record()).selected.append(manifest.round)
    return [_summary(client_id, records[client_id]) for client_id in sorted(records, key=by_number)]


def _summary(client_id: str, record: _Record) -> Attendance:
    present = frozenset(record.present)
    presence: Presence = "never seen"
    if present:
        presence = "late" if record.selected and record.selected[-1] not in present else "seen"
    return Attendance(
        client_id=client_id,
        presence=presence,
        rounds=len(present),
        last_round=record.present[-1] if record.present else None,
        selected=len(record.selected),
        missed=tuple(number for number in record.selected if number not in present),
        last=record.last,
    )


def by_number(client_id: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return what sorts client-2 before client-10, and no two different ids as equal."""
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(client_id))
    return parts, client_id
