"""Small updates of ever more clients in one round: what grows with the list of those who are in it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.scale_cell import Cell, Figures, cell, spent
from benchmarks.scale_tiers import Tree
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT
from fedtier.rounds import Contributor, PartialHeader


def measure_contributors(tree: Tree, clients: int, *, concurrent: int) -> Figures:
    """Play one round of many small updates, the last one alone, and return a record.

    Parameters
    ----------
    tree : Tree
    clients : int
        At least 2.
    concurrent : int
        Uploads under way at once.
    """
    with cell(tree, clients, 0.01) as here:
        here.await_round(1)
        begun = here.tiers.cpu()
        first = here.upload(1, range(clients // 2), concurrent=concurrent)
        half = here.tiers.cpu()
        second = here.upload(1, range(clients // 2, clients - 1), concurrent=concurrent)
        most = here.tiers.cpu()
        journal = _journal(here.tiers.master_state)
        began = time.monotonic()
        here.upload(1, [clients - 1], concurrent=1)
        here.await_exact(1)
        closing, closed = time.monotonic() - began, here.tiers.cpu()
        manifest = here.ask("/v1/rounds/1/manifest")
        peaks, length = here.peaks(), manifest.size
        document = _manifest(here, clients)
    halves = {"first": (clients // 2, spent(begun, half)), "second": (len(second.seconds), spent(half, most))}
    return {
        "benchmark": "contributors",
        "clients": clients,
        "workers": tree.workers,
        "depth": tree.depth,
        "concurrent": concurrent,
        **{
            f"{tier}_core_ms_per_update_{name}_half": round(1000 * cpu[tier] / max(1, count), 3)
            for name, (count, cpu) in halves.items()
            for tier in ("worker", "master")
        },
        "updates_per_second": round((clients - 1) / (second.ended - first.began), 1),
        "closing_ms": round(1000 * closing, 1),
        "master_core_ms_per_closing": round(1000 * spent(most, closed)["master"], 1),
        **journal,
        "manifest_bytes": length,
        "manifest_bytes_per_contributor": round(length / clients, 1),
        **_header(document),
        **peaks,
    }


def _manifest(here: Cell, clients: int) -> Mapping[str, Any]:
    """Return the round's manifest as S3 has it.

    Raises
    ------
    SystemExit
        It does not list every client once.
    """
    stored = here.tiers.store.rounds.read_head()
    assert stored is not None, "a round was published"
    found: Mapping[str, Any] = json.loads(here.tiers.store.rounds.read_manifest(1, stored.head.manifest_sha256))
    ids = {contributor["client_id"] for contributor in found["contributors"]}
    if len(found["contributors"]) != clients or ids != {f"client-{client}" for client in range(clients)}:
        raise SystemExit(f"the manifest lists {len(found['contributors'])} contributors, {len(ids)} different ones")
    return found


def _journal(state: Path) -> Figures:
    """Return what the journal of the open round takes on disk."""
    files = [file for file in state.glob("round-*/*") if file.is_file()]
    commits = [file for file in files if file.name.startswith("commit-")]
    return {
        "journal_commits": len(commits),
        "journal_commit_bytes": sum(file.stat().st_size for file in commits),
        "journal_bytes": sum(file.stat().st_size for file in files),
    }


def _header(manifest: Mapping[str, Any]) -> Figures:
    """Return what a partial's header with all these contributors takes, and how long it takes to read."""
    contributors = tuple(Contributor.model_validate(one) for one in manifest["contributors"])
    total = sum(contributor.num_examples for contributor in contributors)
    text = PartialHeader(attempt=1, total_weight=total, contributors=contributors).to_json()
    started = time.process_time()
    PartialHeader.from_json(text).require_consistent()
    seconds = time.process_time() - started
    escaped = len(json.dumps(text.decode()))  # it is text within the JSON of safetensors
    return {
        "partial_header_bytes_per_contributor": round(escaped / len(contributors), 1),
        "partial_header_core_us_per_contributor": round(1e6 * seconds / len(contributors), 2),
        "contributors_that_a_partial_header_holds": PARTIAL_HEADER_LIMIT * len(contributors) // escaped,
    }
