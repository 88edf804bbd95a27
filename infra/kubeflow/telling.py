"""How whoever submitted a run is told of it: lines for people, or facts as JSON lines for programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from fedtier.plain_text import printable
from fedtier_cli.processes import as_json_line
from infra.kubeflow.progress import SUCCEEDED, Change, Failure

_NO_REASON: Final = "Kubeflow does not say why; the log of this task, on the run's page, does"
_WORDS: Final = {
    "PENDING": "waits",
    "RUNNING": "runs",
    "SUCCEEDED": "is done",
    "SKIPPED": "was skipped",
    "FAILED": "failed",
    "CANCELED": "was cancelled",
}


class Teller(ABC):
    """Tells of a run."""

    @abstractmethod
    def submitted(self, run_id: str, page: str, arguments: Mapping[str, Any]) -> None:
        """Say that there is a run, and what was chosen for it."""

    @abstractmethod
    def changed(self, change: Change) -> None:
        """Say that a task is in another state."""

    @abstractmethod
    def away(self, reason: str) -> None:
        """Say that nobody answers, and that the run is asked for again."""

    @abstractmethod
    def failed(self, failure: Failure) -> None:
        """Say which task failed, and why."""

    @abstractmethod
    def ended(self, state: str, error: str) -> None:
        """Say how the run ended."""


class Facts(Teller):
    """One JSON object a line."""

    def submitted(self, run_id: str, page: str, arguments: Mapping[str, Any]) -> None:
        """Print the run."""
        self._print("submitted", run=run_id, page=page, arguments=dict(arguments))

    def changed(self, change: Change) -> None:
        """Print the task."""
        self._print("task", task=change.task, state=change.state, seconds=change.seconds)

    def away(self, reason: str) -> None:
        """Print the reason."""
        self._print("away", reason=reason)

    def failed(self, failure: Failure) -> None:
        """Print the failure."""
        self._print("failure", task=failure.task, error=failure.error, pod=failure.pod)

    def ended(self, state: str, error: str) -> None:
        """Print the state."""
        self._print("ended", state=state, error=error)

    def _print(self, event: str, **members: Any) -> None:
        print(as_json_line({"event": event, **members}), flush=True)


class Lines(Teller):
    """Sentences.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def submitted(self, run_id: str, page: str, arguments: Mapping[str, Any]) -> None:
        """Print a line for each of them, names aligned."""
        lines = {"run": run_id, "page": page, **{name: str(value) for name, value in arguments.items()}}
        width = max(map(len, lines))
        for name, value in lines.items():
            self._line(f"{name:<{width}}  {value}")

    def changed(self, change: Change) -> None:
        """Print what the task does now."""
        took = "" if change.seconds is None else f", {change.seconds:.0f} s"
        self._line(f"{change.task} {_WORDS.get(change.state, change.state.lower())}{took}")

    def away(self, reason: str) -> None:
        """Print the reason."""
        self._line(f"{reason}; asking again")

    def failed(self, failure: Failure) -> None:
        """Print the reason, and where there may be more."""
        pod = f" (pod {failure.pod})" if failure.pod else ""
        self._line(f"{failure.task}{pod}: {failure.error or _NO_REASON}", style="red")

    def ended(self, state: str, error: str) -> None:
        """Print how it ended."""
        good = state == SUCCEEDED
        said = f": {error}" if error else ""
        self._line(
            f"the run {'succeeded' if good else _WORDS.get(state, state.lower())}{said}", "green" if good else "red"
        )

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text), style=style), soft_wrap=True)
        self._console.file.flush()
