"""How a published model did on test data, as a document that lies beside the round in S3."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fedtier.documents import Lenient
from fedtier.fields import Count, Metrics, RoundNumber, Sha256

_CELL = Annotated[int, Field(ge=0, strict=True)]


class Confusion(Lenient):
    """How often examples of each class were taken for each class.

    Parameters
    ----------
    labels : tuple of str
        Names of the classes, in order.
    counts : tuple of tuples of int
        Row: the true class; column: the class that the model says.
    """

    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    counts: tuple[tuple[_CELL, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        size = len(self.labels)
        if len(self.counts) != size or any(len(row) != size for row in self.counts):
            raise ValueError("the counts are not one row and one column per label")
        return self

    @property
    def class_accuracies(self) -> tuple[float | None, ...]:
        """The part of each class's examples that was told right; None for a class without examples."""
        return tuple(row[number] / total if (total := sum(row)) else None for number, row in enumerate(self.counts))


class Evaluation(Lenient):
    """What a task says of a published model.

    Parameters
    ----------
    round : int
    model_sha256 : str
    task : str
        Its name, without the path of a file.
    basis : str
        SHA-256 of everything else that decides the result: the task's file and the test data.
    examples : int or None
        That it was tested on, where the task says how many.
    metrics : dict of str to float
    confusion : Confusion or None
        None where the task does not tell classes apart.
    """

    round: RoundNumber
    model_sha256: Sha256
    task: str
    basis: Sha256
    examples: Count | None = None
    metrics: Metrics
    confusion: Confusion | None = None
