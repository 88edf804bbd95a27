"""How checks are shown: lines for a person, JSON lines for a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedtier_cli.processes import as_json_line
from fedtier_cli.situation import plural
from fedtier_cli.verification import Check


@dataclass(frozen=True, slots=True)
class Tally:
    """How many checks were made, and how many of them failed."""

    checked: int = 0
    failed: int = 0

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(self.checked + other.checked, self.failed + other.failed)


class Verdicts(ABC):
    """Where checks are shown as they are made."""

    def show(self, about: str, checks: Iterable[Check]) -> Tally:
        """Show the checks of one thing, each when it was made, and return their number."""
        tally = Tally()
        for check in checks:
            tally = tally.plus(Tally(1, int(check.failure is not None)))
            self.one(about, check)
        self.together(about, tally)
        return tally

    @abstractmethod
    def one(self, about: str, check: Check) -> None:
        """Show one check."""

    @abstractmethod
    def together(self, about: str, tally: Tally) -> None:
        """Show what came of all checks of one thing."""

    @abstractmethod
    def end(self, tally: Tally) -> None:
        """Show what came of all checks."""


class JsonVerdicts(Verdicts):
    """One JSON object per check, and one at the end that counts them."""

    def one(self, about: str, check: Check) -> None:
        """Print the check."""
        result = "ok" if check.failure is None else "failed"
        named = {"about": about, "check": check.name, "result": result, "claim": check.claim}
        print(as_json_line({**named, "failure": check.failure, "remark": check.remark}), flush=True)

    def together(self, about: str, tally: Tally) -> None:
        """Print nothing."""

    def end(self, tally: Tally) -> None:
        """Print the numbers."""
        print(as_json_line({"checks": tally.checked, "failed": tally.failed}))


class LineVerdicts(Verdicts):
    """One line per check.

    Parameters
    ----------
    console : Console
    brief : bool
        Show of what holds only the number, and the remarks.
    """

    def __init__(self, console: Console, *, brief: bool) -> None:
        self._console = console
        self._brief = brief

    def one(self, about: str, check: Check) -> None:
        """Print the check."""
        more = check.failure or check.remark
        if self._brief and more is None:
            return
        self._row(about, check.failure is None, check.claim if more is None else f"{check.claim}: {more}")

    def together(self, about: str, tally: Tally) -> None:
        """Print the number of checks where they were not shown."""
        if self._brief:
            failed = f", {tally.failed} failed" if tally.failed else ""
            self._row(about, not tally.failed, plural(tally.checked, "check") + failed)

    def end(self, tally: Tally) -> None:
        """Print the numbers."""
        checks = plural(tally.checked, "check")
        self._console.print(Text(f"{tally.failed} of {checks} FAILED" if tally.failed else f"{checks}, all ok"))

    def _row(self, about: str, passed: bool, words: str) -> None:
        shown = Text("ok", style="green") if passed else Text("FAILED", style="bold red")
        if not self._console.is_terminal:  # whole lines, in which digests can be searched for
            self._console.print(Text(f"{about:<10}{shown.plain:<7}{words}"))
            return
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(min_width=9, no_wrap=True)
        row.add_column(min_width=6, no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(about, shown, Text(words))
        self._console.print(row)
