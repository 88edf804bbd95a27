"""What the HTTP side asks of an aggregator, whichever tier it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from fedtier.entries import Entry
from fedtier.rounds import PartialReceipt, RoundPlan, RoundStatus, UpdateReceipt
from fedtier.serving.downloads import ModelElsewhere, ModelFile


class Upload(Protocol):
    """An upload that is coming in."""

    def bytes_came(self) -> None:
        """Say that it does not stand still."""
        ...


class Tier(Protocol):
    """What the app asks of an aggregator. Every call may raise a `Problem`."""

    def unready(self) -> str | None:
        """Return why the tier cannot take work, or None."""
        ...

    def status(self) -> RoundStatus:
        """Return the round as this tier knows it."""
        ...

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        """Return the plan that an upload for a round is checked against, or refuse it by its address alone."""
        ...

    def receiving(self) -> AbstractContextManager[Upload]:
        """Tell the tier that an upload is coming in, until its entry is given to be settled or it breaks off."""
        ...

    def settle_update(self, entry: Entry, upload: Upload) -> UpdateReceipt:
        """Count an update; returns when it is counted."""
        ...

    def settle_partial(self, entry: Entry, upload: Upload, batch_id: str) -> PartialReceipt:
        """Count a partial; returns when it is counted."""
        ...

    def note_refused(self, refused: Mapping[str, int]) -> None:
        """Take note of updates that were refused here or further down, by the names of their problems."""
        ...

    def model(self, round_number: int) -> ModelFile | ModelElsewhere:
        """Return the model of a published round."""
        ...

    def manifest(self, round_number: int) -> bytes:
        """Return the manifest of a published round."""
        ...
