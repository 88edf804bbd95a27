"""What a local run shows: a live picture on a terminal, plain lines elsewhere, or facts as JSON lines."""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fedtier.plain_text import printable
from fedtier_cli.evaluation import RoundScore, metric_names
from fedtier_cli.metrics import shown_metric
from fedtier_cli.progress import Picture, PublishedFacts, named
from fedtier_cli.steps import StepDisplay, StepFacts

_LINE_EVERY: Final = 5.0


class Display(StepDisplay):
    """Where a run says what it does. Used as a context manager."""

    @abstractmethod
    def started(self, name: str, pid: int) -> None:
        """Say that a process was started."""

    @abstractmethod
    def picture(self, picture: Picture) -> None:
        """Show how the open round stands."""

    @abstractmethod
    def published(self, facts: PublishedFacts) -> None:
        """Say that a round is published."""

    @abstractmethod
    def tested(self, score: RoundScore) -> None:
        """Say how a round's model does."""

    @abstractmethod
    def scores(self, scores: Sequence[RoundScore]) -> None:
        """Show how good the models are."""


class JsonDisplay(StepFacts, Display):
    """Facts as JSON lines, for programs."""

    def started(self, name: str, pid: int) -> None:
        """Print the process."""
        self._print("started", name=name, pid=pid)

    def picture(self, picture: Picture) -> None:
        """Print nothing: a program asks the master."""

    def published(self, facts: PublishedFacts) -> None:
        """Print the round."""
        self._print("published", **dataclasses.asdict(facts))

    def tested(self, score: RoundScore) -> None:
        """Print the round and its metrics."""
        self._print("tested", round=score.round, metrics=dict(score.metrics), known=score.known)

    def scores(self, scores: Sequence[RoundScore]) -> None:
        """Print a line per round."""
        for score in scores:
            self._print("score", **score.members())


class LineDisplay(Display):
    """Plain lines, for logs and pipes; a line of progress every few seconds.

    Parameters
    ----------
    console : Console
    clock : callable
        The run's clock, in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next_line = 0.0
        self._last: tuple[int, int] | None = None

    def step(self, what: str) -> None:
        """Print the step."""
        self._line(what)

    def started(self, name: str, pid: int) -> None:
        """Print nothing."""

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._line(sentence)

    def picture(self, picture: Picture) -> None:
        """Print a line when the round is new, or something changed and the last line is some seconds old."""
        now = (picture.round, picture.counted)
        opened = self._last is None or self._last[0] != picture.round
        if now == self._last or not picture.is_open or not (opened or self._clock() >= self._next_line):
            return
        self._last, self._next_line = now, self._clock() + _LINE_EVERY
        self._line(f"{round_title(picture)}: {counts(picture, self._clock())}")

    def published(self, facts: PublishedFacts) -> None:
        """Print the round."""
        self._line(published_line(facts))

    def tested(self, score: RoundScore) -> None:
        """Print the round, unless an earlier run did."""
        if not score.known:
            self._line(tested_line(score))

    def scores(self, scores: Sequence[RoundScore]) -> None:
        """Print a table."""
        self._console.print(score_table(scores), soft_wrap=True)

    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Print one fact a line, names aligned."""
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            self._line(f"{name:<{width}}  {value}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class LiveDisplay(LineDisplay):
    """A live picture below the lines that stay, for a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._step = Spinner("dots", "starting")
        self._picture: Picture | None = None
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def step(self, what: str) -> None:
        """Show the step in place of the one before."""
        self._picture = None
        self._step = Spinner("dots", escape(what))

    def picture(self, picture: Picture) -> None:
        """Show it from now on."""
        self._picture = picture

    def published(self, facts: PublishedFacts) -> None:
        """Print the round above the live picture."""
        self._console.print(Text.assemble(("✓ ", "green"), published_line(facts)), soft_wrap=True)

    def tested(self, score: RoundScore) -> None:
        """Print the round above the live picture, unless an earlier run did."""
        if not score.known:
            self._console.print(Text.assemble(("✓ ", "green"), tested_line(score)), soft_wrap=True)

    def scores(self, scores: Sequence[RoundScore]) -> None:
        """Print the table in place of the live picture."""
        self._live.stop()
        super().scores(scores)

    def _render(self) -> RenderableType:
        picture = self._picture
        if picture is None or not picture.is_open:
            return self._step
        bar = ProgressBar(total=picture.threshold, completed=min(picture.counted, picture.threshold), width=30)
        row = Table.grid(padding=(0, 2))
        row.add_row(Text(round_title(picture), style="bold"), bar, Text(counts(picture, self._clock(), names=False)))
        return Group(row, Text(_waiting_for(picture), style="dim", overflow="ellipsis", no_wrap=True))


def round_title(picture: Picture) -> str:
    """Return ``round 2 of 3``."""
    return f"round {picture.round} of {picture.last_round}"


def counts(picture: Picture, now: float, *, names: bool = True) -> str:
    """Return how many clients are counted, for how long the round is open, and who is missing."""
    text = f"{picture.counted}/{picture.threshold} clients counted, {now - picture.since:.0f} s"
    return f"{text}, {_waiting_for(picture)}" if names else text


def _waiting_for(picture: Picture) -> str:
    if not picture.missing or picture.counted >= picture.threshold:
        return "publishing"
    if not picture.counted and not picture.training:
        return "the clients get ready"
    # The number first: a narrow terminal cuts the names.
    return f"{len(picture.missing)} missing: {named(picture.missing)}"


def published_line(facts: PublishedFacts) -> str:
    """Return a published round as one line."""
    loss = "" if facts.training_loss is None else f"  training loss {facts.training_loss:.4f}"
    who = f"{facts.clients} clients  {facts.examples} examples"
    return f"round {facts.round} published  {who}  {facts.seconds:.1f} s{loss}"


def tested_line(score: RoundScore) -> str:
    """Return a round's metrics as one line: ``round 2 tested     loss 0.0712  accuracy 97.82%``."""
    metrics = [printable(f"{name} {shown_metric(name, score.metrics[name])}") for name in metric_names([score])]
    return f"round {score.round} tested     {'  '.join(metrics)}"


def score_table(scores: Sequence[RoundScore]) -> Table:
    """Return scores as a table of at most 80 columns where the task has no metrics of its own."""
    names = metric_names(scores)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=" what the task says of every published round",
        title_style="bold",
        title_justify="left",
    )
    for heading in ("round", *map(printable, names), "clients", "examples", "seconds"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    table.add_column("model's SHA-256", no_wrap=True)
    for score in scores:
        metrics = [shown_metric(name, score.metrics.get(name)) for name in names]
        seconds = "" if score.seconds is None else f"{score.seconds:.1f}"
        table.add_row(
            str(score.round), *metrics, str(score.clients), str(score.examples), seconds, score.sha256[:12] + "…"
        )
    return table
