"""What a deployment shows on a terminal: a live picture of hosts and resources below the lines that stay."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from fedtier.plain_text import printable
from fedtier_cli.deploying.boards import HostBoard, HostRow, ResourceBoard
from fedtier_cli.deploying.display import DeployDisplay, DeployFacts
from fedtier_cli.deploying.line_display import DeployLines, resource_line
from fedtier_cli.deploying.plays import HostDone, Outcome, PlayEvent
from fedtier_cli.deploying.terraform_events import ResourceStep, Step, TerraformEvent, short_address

_NOW: Final = {"create": "creating", "update": "updating", "delete": "deleting", "replace": "replacing"}
_MARKS: Final = {Outcome.FAILED: "failed", Outcome.UNREACHABLE: "cannot be reached"}


class DeployLive(DeployLines):
    """A live picture below the lines that stay, for a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._title = ""
        self._began = 0.0
        self._spinner = Spinner("dots")
        self._since: dict[str, float] = {}
        self._live: Live | None = None

    def step(self, what: str) -> None:
        """Show the step from now on."""
        self._over()
        self._title, self._began, self._spinner = what, self._clock(), Spinner("dots")
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def resource(self, event: TerraformEvent) -> None:
        """Print a resource that is done above the picture of those that are not."""
        self._resources.take(event)
        self._remark(event)
        if not isinstance(event, ResourceStep):
            return
        if event.step is Step.STARTED:
            self._since.setdefault(event.address, self._clock())
        else:
            self._since.pop(event.address, None)
            mark = ("✗ ", "red") if event.step is Step.FAILED else ("✓ ", "green")
            self._console.print(Text.assemble(mark, resource_line(event)), soft_wrap=True)

    def play(self, event: PlayEvent) -> None:
        """Show where every host is; a task that failed stays."""
        self._hosts.take(event)
        if isinstance(event, HostDone) and event.outcome in _MARKS:
            words = f"{event.host} {_MARKS[event.outcome]}: {event.task}"
            self._console.print(Text.assemble(("✗ ", "red"), printable(words)), no_wrap=True, overflow="ellipsis")

    def _over(self) -> None:
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        seconds = f"{self._clock() - self._began:.0f} s"
        if self._hosts.rows:
            failed = any(row.has_failed for row in self._hosts.rows.values())
            mark = ("✗ ", "red") if failed else ("✓ ", "green")
            words = f"{self._title}: {self._hosts.totals()}, {seconds}"
            self._console.print(Text.assemble(mark, words), soft_wrap=True)
        self._hosts, self._resources, self._since = HostBoard(), ResourceBoard(), {}

    def _render(self) -> RenderableType:
        self._spinner.update(text=escape(f"{self._title}, {self._clock() - self._began:.0f} s"))
        rows: list[RenderableType] = [self._spinner]
        room = max(self._console.height - 4, 3)
        if self._resources.planned:
            rows.append(Text(f"  {self._resources.done} of {self._resources.planned} done", style="dim"))
        now, since = self._clock(), self._since
        lines = [_running_line(step, now - since.get(name, now)) for name, step in [*self._resources.running.items()]]
        width = max(map(len, self._hosts.rows), default=0)
        lines += [_host_line(f"{name:<{width}}", row) for name, row in [*self._hosts.rows.items()]]
        rows += [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in lines[:room]]
        if len(lines) > room:
            rows.append(Text(f"  … and {len(lines) - room} more", style="dim"))
        return Group(*rows)


def deploy_display(*, as_json: bool) -> DeployDisplay:
    """Return the display for where this program prints."""
    if as_json:
        return DeployFacts()
    console = Console(highlight=False)
    return DeployLive(console) if console.is_terminal else DeployLines(console)


def _running_line(step: ResourceStep, seconds: float) -> str:
    return f"{seconds:4.0f} s  {_NOW.get(step.action, step.action)} {short_address(step.address)}"


def _host_line(name: str, row: HostRow) -> str:
    mark = "✗" if row.has_failed else "…" if row.is_busy else "✓"
    done = row.counts[Outcome.OK] + row.counts[Outcome.CHANGED]
    return printable(f"{mark} {name} {done:3d} done, {row.counts[Outcome.CHANGED]:3d} changed  {row.task}")
