"""``fedtier rounds``, ``show`` and ``clients``: what is published, read from S3 by whoever may read there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import click
from rich import box
from rich.table import Table
from rich.text import Text

from fedtier.flags import command, json_flag
from fedtier.problems import Problem
from fedtier.rounds import RoundManifest, RoundStatus
from fedtier.tls import Tls
from fedtier.upstream import Timeouts, Unreachable, Upstream
from fedtier_cli.attendance import Attendance, attendance
from fedtier_cli.history import HistoryRound, published_rounds, read_history, read_round
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.metrics import METRICS, mean_metric, shown_metric
from fedtier_cli.processes import as_json_line
from fedtier_cli.published import Place, Published, opened, place_flags
from fedtier_cli.round_names import round_name
from fedtier_cli.round_screen import absent, round_screen
from fedtier_cli.screen import screen
from fedtier_cli.servers import asked, chosen_server, running_master, server_flag
from fedtier_cli.situation import plural, short

_IMPATIENT: Final = Timeouts(connect=1.0, read=5.0)


@command("rounds")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N rounds only.")
@place_flags
@json_flag
def rounds(last: int | None, place: Place, as_json: bool) -> None:
    """List the published rounds.

    Training loss and accuracy are what the clients report, weighted by their examples; test loss and accuracy are
    those of fedtier evaluate, where it was called.

    With --json one object per round, oldest first.

    Ends with status 0 when done, 1 when S3 cannot be used or nothing is published, 2 for wrong flags, 130 by Ctrl-C.
    """
    with ended_by_signals("the reading"), opened(place) as published:
        rows = [_round_row(one) for one in read_history(published.rounds, newest=last)]
    if as_json:
        for row in rows:
            print(as_json_line(row))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    counts = ("round", "attempt", "clients", "examples", "seconds")
    for heading in (*counts, "train\nloss", "train\nacc.", "test\nloss", "test\nacc."):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("model", overflow="ellipsis", min_width=6)  # the first to get less room where a terminal is narrow
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        metrics = [shown_metric(name, row[kind].get(name)) for kind in ("training", "test") for name in METRICS]
        numbers = [str(row[name]) for name in ("round", "attempt", "clients", "examples")]
        table.add_row(*numbers, seconds, *metrics, short(row["model_sha256"]))
    screen().print(table)


def _round_row(one: HistoryRound) -> dict[str, Any]:
    manifest = one.published.manifest
    training = {name: mean_metric(manifest.contributors, name) for name in METRICS}
    return {
        "round": one.round,
        "attempt": manifest.attempt,
        "clients": len(manifest.contributors),
        "examples": manifest.total_examples,
        "seconds": one.seconds,
        "published_at": manifest.published_at.isoformat() if isinstance(manifest, RoundManifest) else None,
        "training": {name: value for name, value in training.items() if value is not None},
        "test": {} if one.evaluation is None else dict(one.evaluation.metrics),
        "model_sha256": manifest.model.sha256,
        "manifest_sha256": one.published.manifest_sha256,
    }


@command("show")
@click.argument("number", metavar="ROUND|last", callback=round_name)
@click.option("--all", "everything", is_flag=True, help="Show every client instead of the first twenty.")
@place_flags
@json_flag
def show(number: int | str, everything: bool, place: Place, as_json: bool) -> None:
    """Show one published round and who is in it.

    With --json one object: round, manifest_sha256, manifest (as it lies in S3), absent (selected, but not in the
    round), evaluation (null where fedtier evaluate was not called).

    Ends with status 0 when done, 1 when S3 cannot be used or the round is not published, 2 for wrong flags, 130 by
    Ctrl-C.
    """
    with ended_by_signals("the reading"), opened(place) as published:
        found = read_round(published.rounds, None if isinstance(number, str) else number)
    if as_json:
        manifest, evaluation = found.published.manifest, found.evaluation
        document = {
            "round": found.round,
            "manifest_sha256": found.published.manifest_sha256,
            "manifest": json.loads(manifest.to_json()),
            "absent": absent(manifest) if isinstance(manifest, RoundManifest) else [],
            "evaluation": None if evaluation is None else json.loads(evaluation.to_json()),
        }
        print(as_json_line(document))
        return
    console = screen()
    for part in round_screen(found, everything=everything):
        console.print(part)


@command("clients")
@click.option("--clients", "count", type=click.IntRange(min=1), metavar="K", help="Expect client-0 to client-(K-1).")
@place_flags
@server_flag
@json_flag
def clients(count: int | None, place: Place, server: str | None, tls: Tls, as_json: bool) -> None:
    """Show which clients were seen, when, and which never.

    A round selects its cohort; a round without a cohort selects every client that is expected by --clients, or that
    was in it or in a round before it. "seen": the client is in the newest published round that selected it. "late":
    it is in some published round, but not in the newest one that selected it. "never seen": it was selected or
    expected, and is in no published round. "missed" counts the rounds that selected it and that it is not in. Loss
    and accuracy are what it reported in the last round that it is in.

    Where a server is known, the open round is told of too: how many clients it counted, and how many it waits for;
    who they are the server does not say.

    With --json one object per client, and one of the open round where a server is known.

    Ends with status 0 when done, 1 when S3 or the server that is named cannot be used or nothing is published, 2 for
    wrong flags, 130 by Ctrl-C.
    """
    expected = [f"client-{number}" for number in range(count or 0)]
    with ended_by_signals("the reading"), opened(place) as published:
        manifests = [one.manifest for one in published_rounds(published.rounds)]
        open_round = _open_round(published, server, tls)
    records = attendance((one for one in manifests if isinstance(one, RoundManifest)), expected)
    if as_json:
        for record in records:
            print(as_json_line(_client_document(record)))
        if open_round is not None:
            print(as_json_line({"open": _open_document(open_round)}))
        return
    console = screen()
    console.print(_client_table(records))
    console.print(Text(_presence_line(records)))
    if open_round is not None:
        console.print(Text(_open_words(open_round)))


def _open_round(published: Published, server: str | None, tls: Tls) -> RoundStatus | None:
    """Return the open round of the server that was named, or of a local run's master if it runs."""
    if server is not None:
        with asked(chosen_server(server, None, tls=tls)) as upstream:
            return upstream.round_status()
    if published.run is None or published.federation is None or not published.federation.master:
        return None
    master = running_master(published.run, published.federation)
    try:
        with Upstream(master.url, token=master.source(), tls=master.tls, timeouts=_IMPATIENT) as upstream:
            return upstream.round_status()
    except (Unreachable, Problem):
        return None  # the run has ended


def _client_document(record: Attendance) -> dict[str, Any]:
    last = record.last
    return {
        "client_id": record.client_id,
        "state": record.presence,
        "rounds": record.rounds,
        "last_round": record.last_round,
        "selected": record.selected,
        "missed": list(record.missed),
        "examples": None if last is None else last.num_examples,
        "metrics": {} if last is None else dict(last.metrics),
    }


def _client_table(records: Sequence[Attendance]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("client", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("rounds", "last", "selected", "missed", "examples", *METRICS):
        table.add_column(heading, justify="right", no_wrap=True)
    styles = {"seen": "green", "late": "yellow", "never seen": "red"}
    for record in records:
        last = record.last
        table.add_row(
            record.client_id,
            Text(record.presence, style=styles[record.presence]),
            str(record.rounds),
            "" if record.last_round is None else str(record.last_round),
            str(record.selected),
            str(len(record.missed)),
            "" if last is None else str(last.num_examples),
            *(shown_metric(name, None if last is None else last.metrics.get(name)) for name in METRICS),
        )
    return table


def _presence_line(records: Sequence[Attendance]) -> str:
    if not records:
        return "no client was seen or selected yet; --clients K says how many are expected"
    words = ("seen", "late", "never seen")
    return ", ".join(f"{sum(one.presence == word for one in records)} {word}" for word in words)


def _open_document(status: RoundStatus) -> dict[str, Any]:
    document = status.model_dump(include={"round", "attempt", "state", "counted", "threshold"})
    return {**document, "cohort": None if status.cohort is None else list(status.cohort)}


def _open_words(status: RoundStatus) -> str:
    if status.state == "finished":
        return f"the federation is finished: round {status.base.round} is the last"
    words = f"round {status.round} is {status.state}: {plural(status.counted, 'client')} counted"
    waiting = max(status.threshold - status.counted, 0)
    return f"{words}, {waiting} more to wait for" if waiting else words
