"""What every display can say, whatever it shows: steps, sentences, and named facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fedtier_cli.processes import as_json_line


class StepDisplay(ABC):
    """Where a program says what it does. Used as a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def step(self, what: str) -> None:
        """Say what is being done now."""

    @abstractmethod
    def note(self, sentence: str) -> None:
        """Say something that stays to be read."""

    @abstractmethod
    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Show some named facts."""


class StepFacts(StepDisplay):
    """The same as JSON lines, for programs."""

    def step(self, what: str) -> None:
        """Print the step."""
        self._print("step", detail=what)

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._print("note", detail=sentence)

    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Print the facts as one object."""
        self._print(event, **{name.replace(" ", "_"): value for name, value in lines})

    def _print(self, event: str, **members: Any) -> None:
        print(as_json_line({"event": event, **members}), flush=True)
