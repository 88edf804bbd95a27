"""Sums as files: each value of a sum is worked out once, and written to all parts of its coding.

A file's digest is of its bytes in their order. High parts stand behind all others, and are written before it is their
turn, so they are read back to be hashed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fedtier.entries import Entry, Received
from fedtier.entry_sums import EntrySum
from fedtier.exact import BoundedSum
from fedtier.header import encode_header
from fedtier.overwriting import overwritten
from fedtier.partial_headers import PARTIAL_KEY
from fedtier.rounds import PartialHeader, RoundPlan
from fedtier.wire import wire_layout, wire_specs, wire_windows

_BLOCK: Final = 1 << 18
"""Bytes that are read back at a time."""


def write_partial(plan: RoundPlan, entries: Sequence[Entry], path: Path) -> Received:
    """Write the sum of entries as a partial's file.

    Parameters
    ----------
    plan : RoundPlan
    entries : sequence of Entry
        Checked ones, at least one; no two have a contributor in common.
    path : Path
        What may lie there is written over, and removed when writing fails; it is left alone where an entry cannot be
        opened.

    Raises
    ------
    WeightLimit
        A sum has no room for all of them.
    EntryUnreadable
        Names one whose file cannot be read.
    OSError
        The file cannot be written, or the sum is larger than was said; see `EntrySum`, too.
    """
    return write_sum(EntrySum(plan.sums, entries), path, partial_metadata(entries, plan.attempt))


def partial_metadata(entries: Sequence[Entry], attempt: int) -> dict[str, str]:
    """Return what the header of a partial says of its entries."""
    contributors = sorted((who for entry in entries for who in entry.contributors), key=lambda who: who.client_id)
    weight = sum(entry.total_weight for entry in entries)
    header = PartialHeader(attempt=attempt, total_weight=weight, contributors=tuple(contributors))
    return {PARTIAL_KEY: header.to_json().decode()}


def write_sum(total: BoundedSum, path: Path, metadata: Mapping[str, str]) -> Received:
    """Write a sum in its wire form, with metadata.

    Raises
    ------
    OSError
        It cannot be written. The file is removed, also where one lay there before.
    Exception
        Whatever reading the sum raises, as `EntryUnreadable`; the file is removed then, too.
    """
    layout = wire_layout(total)
    specs = wire_specs(layout)
    head = encode_header(specs, metadata)
    *starts, end = itertools.accumulate((spec.nbytes for spec in specs), initial=len(head))
    at = {spec.name: start for spec, start in zip(specs, starts, strict=True)}
    digest = hashlib.sha256(head)
    try:
        with overwritten(path) as file:
            file.write(head)
            # Whole sums and low parts stand in front and are hashed as they are written; high parts follow all of them.
            for wire in sorted(layout, key=lambda wire: at[wire.parts[0].name]):
                for windows in wire_windows(total, wire):
                    digest.update(windows[0].data)
                    for spec, window in zip(wire.parts, windows, strict=True):
                        file.seek(at[spec.name])
                        at[spec.name] += file.write(window.data)
            file.seek(end)
        with path.open("rb", buffering=0) as written:
            written.seek(len(head) + sum(wire.parts[0].nbytes for wire in layout))
            while block := written.read(_BLOCK):
                digest.update(block)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Received(path.name, path, digest.hexdigest())
