"""A bug that is planted in the shipped journal, or in how a master takes up its round again, is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from fedtier.entries import Entry
from master_aggregator.journal import Contents, Journal
from master_aggregator.overdue import OverdueMark
from tests.model_checking.claims import ALONE, CLOSED_ONCE, REPLAYED, STAYS_CLOSED
from tests.model_checking.planting import Plant, look, require_found
from tests.model_checking.test_disk import AnyDisk


def _replayed_otherwise(patch: pytest.MonkeyPatch, change: Callable[[list[Entry]], list[Entry]]) -> None:
    real = Journal._replay
    patch.setattr(Journal, "_replay", lambda self: change(real(self)))


def the_last_journaled_entry_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    _replayed_otherwise(patch, lambda entries: entries[:-1])


def an_entry_is_replayed_twice(patch: pytest.MonkeyPatch) -> None:
    _replayed_otherwise(patch, lambda entries: entries + entries[:1])


def the_last_commit_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = Journal._live
    patch.setattr(Journal, "_live", lambda self: real(self)[:-1])


def commits_are_numbered_anew_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    real = Journal._replay

    def replay(self: Journal) -> list[Entry]:
        entries = real(self)
        self._next_commit = 1
        return entries

    patch.setattr(Journal, "_replay", replay)


def a_snapshot_does_not_stand_for_what_is_before_it(patch: pytest.MonkeyPatch) -> None:
    real = Journal._commit
    patch.setattr(Journal, "_commit", lambda self, entries, snapshot: real(self, entries, snapshot=False))


def entries_are_deleted_before_their_snapshot_is_durable(patch: pytest.MonkeyPatch) -> None:
    real = Journal._commit

    def commit(self: Journal, entries: Iterable[Entry], *, snapshot: bool) -> None:
        if snapshot:
            for path in self.folder.glob("commit-*.json"):
                path.unlink()
        real(self, entries, snapshot=snapshot)

    patch.setattr(Journal, "_commit", commit)


def entries_are_confirmed_before_they_are_durable(patch: pytest.MonkeyPatch) -> None:
    real = Journal._commit

    def commit(self: Journal, entries: Iterable[Entry], *, snapshot: bool) -> None:
        if snapshot:
            real(self, entries, snapshot=snapshot)

    patch.setattr(Journal, "_commit", commit)


def a_close_record_is_ignored(patch: pytest.MonkeyPatch) -> None:
    real = Journal.load

    def load(folder: Any, die: Any) -> tuple[Journal, Contents]:
        journal, contents = real(folder, die)
        return journal, replace(contents, close=None)

    patch.setattr(Journal, "load", load)


def the_mark_of_a_round_that_closes_early_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OverdueMark, "names", lambda self, plan: False)


PLANTED: Final[Mapping[Plant, tuple[str, ...]]] = {
    the_last_journaled_entry_is_forgotten: (REPLAYED,),
    an_entry_is_replayed_twice: (REPLAYED,),
    the_last_commit_is_forgotten: (REPLAYED,),
    commits_are_numbered_anew_after_a_restart: (REPLAYED,),
    a_snapshot_does_not_stand_for_what_is_before_it: (REPLAYED,),
    entries_are_deleted_before_their_snapshot_is_durable: (REPLAYED,),
    entries_are_confirmed_before_they_are_durable: (REPLAYED,),
    a_close_record_is_ignored: (CLOSED_ONCE, ALONE),
    the_mark_of_a_round_that_closes_early_is_ignored: (STAYS_CLOSED,),
}


@pytest.mark.parametrize(("plant", "claims"), PLANTED.items(), ids=[plant.__name__ for plant in PLANTED])
def test_it_is_found(plant: Plant, claims: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    require_found(AnyDisk, claims)


def test_nothing_is_found_in_what_is_shipped() -> None:
    look(AnyDisk, 30)
