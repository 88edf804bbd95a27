"""One published round for a person. Pure: a manifest and an evaluation in, tables out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedtier.evaluations import Evaluation
from fedtier.plain_text import printable
from fedtier.rounds import RoundManifest
from fedtier_cli.attendance import by_number
from fedtier_cli.class_table import class_table
from fedtier_cli.history import HistoryRound
from fedtier_cli.metrics import METRICS, known_first, shown_metric
from fedtier_cli.situation import duration, moment, plural, settings_words, short, size

SHOWN: Final = 20
"""How many contributors or missing clients are shown unless all are wanted."""


def absent(manifest: RoundManifest) -> list[str]:
    """Return the clients that a round selected and that are not in it."""
    present = {contributor.client_id for contributor in manifest.contributors}
    return sorted((name for name in manifest.cohort or () if name not in present), key=by_number)


def round_screen(found: HistoryRound, *, everything: bool) -> list[RenderableType]:
    """Return what a person wants to know of a round.

    Parameters
    ----------
    found : HistoryRound
    everything : bool
        Show every contributor and missing client instead of the first ones.
    """
    manifest = found.published.manifest
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    lines = _round_facts(manifest) if isinstance(manifest, RoundManifest) else iter([("round 0", "the initial model")])
    for name, value in lines:
        facts.add_row(name, Text(value))
    facts.add_row("model", Text(manifest.model.sha256))
    facts.add_row("size", Text(size(manifest.model.bytes)))
    facts.add_row("manifest", Text(found.published.manifest_sha256))
    screen: list[RenderableType] = [facts]
    if isinstance(manifest, RoundManifest):
        screen += _who(manifest, everything)
    if found.evaluation is None:
        screen.append(Text("not evaluated; fedtier evaluate tests the models"))
    else:
        screen += _evaluated(found.evaluation)
    return screen


def _round_facts(manifest: RoundManifest) -> Iterator[tuple[str, str]]:
    last = "" if manifest.final_round is None else f" of {manifest.final_round}"
    who = f"{plural(len(manifest.contributors), 'client')}, {plural(manifest.total_examples, 'example')}"
    yield f"round {manifest.round}{last}", f"{who}, attempt {manifest.attempt}"
    closed = (manifest.closed_at - manifest.opened_at).total_seconds()
    published = (manifest.published_at - manifest.closed_at).total_seconds()
    yield "opened", moment(manifest.opened_at)
    yield "closed", f"{moment(manifest.closed_at)}, after {duration(closed)}"
    yield "published", f"{moment(manifest.published_at)}, after {duration(published)} more"
    deadline = "no deadline" if manifest.deadline is None else f"deadline {moment(manifest.deadline)}"
    yield "closes at", f"{plural(manifest.threshold, 'client')}; at least {manifest.min_clients}; {deadline}"
    cohort = "anyone" if manifest.cohort is None else plural(len(manifest.cohort), "client")
    yield "selected", cohort
    yield "limits", f"{manifest.weight_limit} examples in all, {manifest.max_examples} of one client"
    yield "training", settings_words(manifest.client)
    yield "base", manifest.base.sha256
    values = sum(tensor.spec.elements for tensor in manifest.tensors)
    yield "tensors", f"{len(manifest.tensors)} with {plural(values, 'value')}"


def _who(manifest: RoundManifest, everything: bool) -> list[RenderableType]:
    contributors = sorted(manifest.contributors, key=lambda one: by_number(one.client_id))
    shown = contributors if everything else contributors[:SHOWN]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("client", overflow="fold")
    for heading in ("examples", *METRICS):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("update's SHA-256", no_wrap=True)
    for one in shown:
        metrics = [shown_metric(name, one.metrics.get(name)) for name in METRICS]
        table.add_row(one.client_id, str(one.num_examples), *metrics, short(one.sha256))
    screen: list[RenderableType] = [table]
    if len(shown) < len(contributors):
        screen.append(Text(f"and {len(contributors) - len(shown)} more; --all shows them\n"))
    missing = absent(manifest)
    if missing:
        names = missing if everything else missing[:SHOWN]
        more = "" if len(names) == len(missing) else f" and {len(missing) - len(names)} more"
        screen.append(Text(f"selected, but not in the round: {', '.join(names)}{more}\n"))
    return screen


def _evaluated(evaluation: Evaluation) -> list[RenderableType]:
    values = evaluation.metrics
    metrics = ", ".join(f"{name} {shown_metric(name, values[name])}" for name in known_first(values))
    tested = "" if evaluation.examples is None else f" on {plural(evaluation.examples, 'example')}"
    screen: list[RenderableType] = [Text(printable(f"evaluated by {evaluation.task}{tested}: {metrics}"))]
    if evaluation.confusion is not None:
        screen.append(class_table(evaluation.round, evaluation.confusion))
    return screen
