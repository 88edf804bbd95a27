"""What an evaluation shows: a table for people, or facts as JSON lines for programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from fedtier.plain_text import printable
from fedtier_cli.class_table import class_table
from fedtier_cli.display import JsonDisplay, score_table
from fedtier_cli.evaluation import RoundScore, metric_names
from fedtier_cli.metrics import shown_metric
from fedtier_cli.processes import as_json_line
from fedtier_cli.situation import plural


@dataclass(frozen=True, slots=True)
class Written:
    """Where results were written.

    Parameters
    ----------
    table : Path
    picture : Path or None
        None where none was drawn.
    """

    table: Path
    picture: Path | None


class EvaluationDisplay(ABC):
    """Where an evaluation says what it found."""

    @abstractmethod
    def note(self, sentence: str) -> None:
        """Say something that stays to be read."""

    @abstractmethod
    def score(self, score: RoundScore) -> None:
        """Say how one round does, as soon as that is known."""

    @abstractmethod
    def finished(self, scores: Sequence[RoundScore], written: Written) -> None:
        """Say what was found in all, and where it lies."""


class EvaluationFacts(EvaluationDisplay):
    """A JSON line per round as it comes, and one at the end."""

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        JsonDisplay().note(sentence)

    def score(self, score: RoundScore) -> None:
        """Print the score at once."""
        JsonDisplay().scores([score])

    def finished(self, scores: Sequence[RoundScore], written: Written) -> None:
        """Print counts and paths."""
        known = sum(score.known for score in scores)
        facts = {
            "event": "evaluated",
            "tested": len(scores) - known,
            "known": known,
            "table": str(written.table),
            "picture": None if written.picture is None else str(written.picture),
        }
        click.echo(as_json_line(facts))


class EvaluationTables(EvaluationDisplay):
    """Tables at the end, and before that a line per round where rounds are waited for.

    Parameters
    ----------
    console : Console
    lines : bool
        Whether there is a line per round.
    """

    def __init__(self, console: Console, *, lines: bool) -> None:
        self._console = console
        self._lines = lines

    def note(self, sentence: str) -> None:
        """Print the sentence beside the results."""
        click.echo(sentence, err=True)

    def score(self, score: RoundScore) -> None:
        """Print a line."""
        if self._lines:
            click.echo(score_line(score))

    def finished(self, scores: Sequence[RoundScore], written: Written) -> None:
        """Print the tables, counts and paths."""
        self._console.print(score_table(scores))
        newest = scores[-1]
        if newest.confusion is not None:
            self._console.print(class_table(newest.round, newest.confusion))
        click.echo(counts_line(scores))
        paths = [written.table, written.picture]
        click.echo(f"written to {' and '.join(str(path) for path in paths if path is not None)}")


def score_line(score: RoundScore) -> str:
    """Return a round's score as one line: ``round 3  loss 0.0712  accuracy 97.82%``."""
    shown = [f"round {score.round}"]
    for name in metric_names([score]):
        shown.append(printable(f"{name} {shown_metric(name, score.metrics[name])}"))
    return "  ".join(shown)


def counts_line(scores: Sequence[RoundScore]) -> str:
    """Return how many rounds were tested: ``4 rounds tested, 3 known already``."""
    known = sum(score.known for score in scores)
    tested = len(scores) - known
    line = f"{plural(tested, 'round')} tested"
    return f"{line}, {known} known already" if known else line
