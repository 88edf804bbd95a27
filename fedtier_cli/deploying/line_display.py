"""What a deployment shows in logs and pipes: plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedtier.plain_text import printable
from fedtier_cli.deploying.boards import HostBoard, ResourceBoard
from fedtier_cli.deploying.display import DeployDisplay
from fedtier_cli.deploying.plays import PlayEvent
from fedtier_cli.deploying.site import Site
from fedtier_cli.deploying.terraform_events import (
    Planned,
    ResourceStep,
    Step,
    TerraformEvent,
    plan_in_words,
    remark,
    short_address,
)
from fedtier_cli.progress import named

_LINE_EVERY: Final = 15.0
_SHOWN_CHANGES: Final = 100
_PAST: Final = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
_SIGNS: Final = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "delete": ("-", "red"),
    "replace": ("±", "yellow"),
}


class DeployLines(DeployDisplay):
    """Plain lines, for logs and pipes.

    Parameters
    ----------
    console : Console
    clock : callable
        In seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._hosts = HostBoard()
        self._resources = ResourceBoard()
        self._next_line = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over()

    def step(self, what: str) -> None:
        """Print the step."""
        self._over()
        self._line(what)

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._line(sentence)

    def plan(self, changes: Sequence[Planned]) -> None:
        """Print a line per change, and how many there are."""
        self._over()
        for change in changes[:_SHOWN_CHANGES]:
            sign, colour = _SIGNS[change.action]
            self._console.print(Text.assemble((f"{sign} ", colour), short_address(change.address)), soft_wrap=True)
        if len(changes) > _SHOWN_CHANGES:
            self._line(f"… and {len(changes) - _SHOWN_CHANGES} more")
        self._line(plan_in_words(changes))

    def site(self, site: Site) -> None:
        """Print a row per host."""
        self._over()
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for heading in ("host", "reached at", "does"):
            table.add_column(heading, overflow="fold")
        for host in site.hosts:
            does = sorted(group for group in host.groups if group != "clients")
            if host.client_ids:
                does.append(f"clients ({named(host.client_ids)})")
            cells = (host.name, host.ssh.at, ", ".join(does))
            table.add_row(*(Text(printable(cell)) for cell in cells))
        self._console.print(table)

    def resource(self, event: TerraformEvent) -> None:
        """Print a resource that is done, and every now and then those that are not."""
        self._resources.take(event)
        match event:
            case ResourceStep(step=Step.STARTED):
                self._still_running()
            case ResourceStep():
                self._line(f"{self._resources.done}/{self._resources.planned} {resource_line(event)}")
            case _:
                self._remark(event)

    def play(self, event: PlayEvent) -> None:
        """Print a line per task that is over."""
        for line in self._hosts.take(event):
            self._line(line)

    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Print one fact a line, names aligned."""
        self._over()
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            self._line(f"{name:<{width}}  {value}")

    def _remark(self, event: TerraformEvent) -> None:
        said = remark(event)
        if said is not None:
            self._line(said)

    def _over(self) -> None:
        """Print what is left to say of the step that is over, and start anew."""
        for line in self._hosts.flush():
            self._line(line)
        if self._hosts.rows:
            self._line(self._hosts.totals())
        self._hosts, self._resources = HostBoard(), ResourceBoard()

    def _still_running(self) -> None:
        now = self._clock()
        if now >= self._next_line and any(step.seconds >= _LINE_EVERY for step in self._resources.running.values()):
            self._next_line = now + _LINE_EVERY
            self._line(f"still at it: {named([short_address(address) for address in self._resources.running])}")

    def _line(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


def resource_line(step: ResourceStep) -> str:
    """Return how a resource ended up, and after how long."""
    if step.step is Step.FAILED:
        return f"{short_address(step.address)} failed after {step.seconds:.0f} s"
    return f"{short_address(step.address)} {_PAST.get(step.action, step.action)}, {step.seconds:.0f} s"
