"""Whole rounds: updates per second, how long each waited for its answer, and what the tiers needed for it."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.load_connection import Answer, Wanted
from benchmarks.scale_cell import Cell, Figures, cell, percentile, spent
from benchmarks.scale_tiers import Tree


@dataclass(slots=True)
class _Rounds:
    """What was seen in all rounds that count."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    closing: list[float] = field(default_factory=list)
    repeats: int = 0
    updating_cpu: Counter[str] = field(default_factory=Counter)
    closing_cpu: Counter[str] = field(default_factory=Counter)
    download_rates: list[float] = field(default_factory=list)
    download_cpu: Counter[str] = field(default_factory=Counter)
    partials: int = 0
    partial_bytes: int = 0


def measure_updates(tree: Tree, clients: int, megabytes: float, *, rounds: int, concurrent: int) -> Figures:
    """Play rounds, one more than count, and return a record.

    Parameters
    ----------
    tree : Tree
    clients : int
        All send an update in each round, and get the model that it makes.
    megabytes : float
        Of an update.
    rounds : int
    concurrent : int
        Uploads under way at once, and downloads.
    """
    seen = _Rounds()
    with cell(tree, clients, megabytes) as here:
        for number in range(1, rounds + 2):
            here.await_round(number)
            _play(here, number, clients, concurrent, _Rounds() if number == 1 else seen)
        peaks, reconnects = here.peaks(), here.crowd.reconnects
    updates = clients * rounds
    return {
        "benchmark": "updates",
        "clients": clients,
        "workers": tree.workers,
        "depth": tree.depth,
        "megabytes": megabytes,
        "concurrent": concurrent,
        "rounds": rounds,
        "updates_per_second": round(statistics.median(seen.rates), 1),
        "updates_per_second_least": round(min(seen.rates), 1),
        "updates_per_second_most": round(max(seen.rates), 1),
        **{f"p{part}_ms": round(1000 * percentile(seen.seconds, part), 1) for part in (50, 95, 99)},
        "closing_ms": round(1000 * statistics.median(seen.closing), 1),
        "asked_to_come_again": seen.repeats,
        "reconnects": reconnects,
        **{f"{t}_core_ms_per_update": round(1000 * s / updates, 3) for t, s in seen.updating_cpu.items()},
        "contributors_per_partial": round(updates / seen.partials, 1),
        "partial_bytes_per_model_byte": round(seen.partial_bytes / seen.partials / megabytes / 1e6, 3),
        "master_core_ms_per_partial": round(1000 * seen.updating_cpu["master"] / seen.partials, 3),
        **{f"{t}_core_ms_per_closing": round(1000 * s / rounds, 1) for t, s in seen.closing_cpu.items()},
        "downloads_per_second": round(statistics.median(seen.download_rates), 1),
        **{f"{t}_core_ms_per_download": round(1000 * s / updates, 3) for t, s in seen.download_cpu.items()},
        **peaks,
    }


def _play(here: Cell, number: int, clients: int, concurrent: int, seen: _Rounds) -> None:
    partials, partial_bytes = here.tiers.partials()
    before = here.tiers.cpu()
    uploaded = here.upload(number, range(clients), concurrent=concurrent)
    counted = here.tiers.cpu()
    here.await_exact(number)
    seen.closing.append(time.monotonic() - uploaded.ended)
    opened = here.tiers.cpu()
    after = here.tiers.partials()
    seen.partials += after[0] - partials
    seen.partial_bytes += after[1] - partial_bytes
    seen.rates.append(clients / (uploaded.ended - uploaded.began))
    seen.seconds += uploaded.seconds
    seen.repeats += uploaded.repeats
    seen.updating_cpu.update(spent(before, counted))
    seen.closing_cpu.update(spent(counted, opened))
    downloading = here.tiers.cpu()
    seen.download_rates.append(_download(here, number, clients, concurrent))
    seen.download_cpu.update(spent(downloading, here.tiers.cpu()))


def _download(here: Cell, number: int, clients: int, concurrent: int) -> float:
    """Have every client get the round's model; return how many did in a second."""
    moments: list[float] = []

    def see(answer: Answer) -> Wanted | None:
        if answer.status != 200:
            raise SystemExit(f"a model was refused: {answer.status} {answer.body[:300]!r}")
        moments.extend((answer.began, answer.ended))
        return None

    wanted = [here.clients.get(client, f"/v1/rounds/{number}/model") for client in range(clients)]
    here.crowd.run(wanted, see, concurrent=concurrent)
    return clients / (max(moments) - min(moments))
