"""What a round becomes when it closes: its model, in a file, and the exact bytes that publish it."""

from __future__ import annotations

import os
from datetime import datetime

from fedtier.fields import sha256_hex
from fedtier.rounds import Contributor, Head, ModelDigest, RoundManifest, RoundPlan
from master_aggregator.opening import OpenRound
from master_aggregator.records import CloseRecord
from master_aggregator.server_update import WrittenModel, write_mean


def write_model(opened: OpenRound) -> WrittenModel:
    """Write the round's model into its journal.

    It is not made durable: the journal's entries are, and give the same bytes again.

    Raises
    ------
    OSError
    """
    path = opened.journal.model_path
    temporary = path.with_suffix(".tmp")
    path.unlink(missing_ok=True)  # of a try whose record found no room: two models would need twice the room
    try:
        with temporary.open("wb") as file:
            written = write_mean(opened.total, opened.journal.base_path, file)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return written


def make_close_record(
    opened: OpenRound,
    model: ModelDigest,
    contributors: tuple[Contributor, ...],
    closed_and_published: tuple[datetime, datetime],
) -> CloseRecord:
    """Return the exact bytes that publish a round."""
    closed_at, published_at = closed_and_published
    plan = {name: getattr(opened.plan, name) for name in RoundPlan.model_fields}
    manifest = RoundManifest(
        **plan,
        model=model,
        total_examples=sum(contributor.num_examples for contributor in contributors),
        contributors=tuple(sorted(contributors, key=lambda contributor: contributor.client_id)),
        previous=opened.predecessor,
        opened_at=opened.journal.opened_at,
        closed_at=closed_at,
        published_at=published_at,
    ).to_json()
    head = Head(round=opened.plan.round, manifest_sha256=sha256_hex(manifest), attempt=opened.plan.attempt + 1)
    return CloseRecord(manifest=manifest.decode(), head=head, model_sha256=model.sha256)
