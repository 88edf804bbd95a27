"""How a model does on each class: what it was asked, how often it was right, and what it said instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from fedtier.evaluations import Confusion
from fedtier.plain_text import printable
from fedtier_cli.situation import plural

_ALL_SHOWN: Final = 20
_WORST_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a confusion matrix.

    Parameters
    ----------
    label : str
    examples : int
    accuracy : float or None
        None for a class without examples.
    mistake : str or None
        The wrong class that was said most often, the first of several; None where nothing went wrong.
    mistakes : int
        How often.
    """

    label: str
    examples: int
    accuracy: float | None
    mistake: str | None
    mistakes: int


def class_scores(confusion: Confusion) -> list[ClassScore]:
    """Return what a confusion matrix says of each class, in order."""
    scores = []
    for number, (label, row, accuracy) in enumerate(
        zip(confusion.labels, confusion.counts, confusion.class_accuracies, strict=True)
    ):
        wrong = [0 if said == number else count for said, count in enumerate(row)]
        most = max(wrong)
        mistake = confusion.labels[wrong.index(most)] if most else None
        scores.append(ClassScore(label, sum(row), accuracy, mistake, most))
    return scores


def worst_of(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """Return all scores where a person can read them, else those of the classes that are told worst, worst first."""
    if len(scores) <= _ALL_SHOWN:
        return list(scores)
    tested = [score for score in scores if score.accuracy is not None]
    return sorted(tested, key=lambda score: score.accuracy or 0.0)[:_WORST_SHOWN]


def class_table(round_number: int, confusion: Confusion) -> Table:
    """Return a round's confusion matrix as a table of one row per class."""
    scores = class_scores(confusion)
    shown = worst_of(scores)
    title = f" round {round_number}, class by class"
    if len(shown) < len(scores):
        title += f": {len(shown)} worst of {len(scores)}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="bold", title_justify="left")
    table.add_column("class")
    table.add_column("examples", justify="right", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("most often taken for")
    for score in shown:
        accuracy = "" if score.accuracy is None else f"{score.accuracy:.2%}"
        mistake = "" if score.mistake is None else f"{score.mistake}, {plural(score.mistakes, 'time')}"
        table.add_row(Text(printable(score.label)), str(score.examples), accuracy, Text(printable(mistake)))
    return table
