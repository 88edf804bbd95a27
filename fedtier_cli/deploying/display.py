"""What a deployment shows: a live picture on a terminal, plain lines elsewhere, or facts as JSON lines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fedtier.plain_text import printable
from fedtier_cli.deploying.boards import HostBoard, HostRow, ResourceBoard
from fedtier_cli.deploying.plays import HostDone, Outcome, PlayEvent
from fedtier_cli.deploying.site import Site
from fedtier_cli.deploying.terraform_events import (
    Diagnostic,
    Planned,
    ResourceStep,
    Step,
    TerraformEvent,
    plan_in_words,
    short_address,
)
from fedtier_cli.processes import as_json_line
from fedtier_cli.progress import named

_LINE_EVERY: Final = 15.0
_SHOWN_CHANGES: Final = 100
_PAST: Final = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
_NOW: Final = {"create": "creating", "update": "updating", "delete": "deleting", "replace": "replacing"}
_SIGNS: Final = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "delete": ("-", "red"),
    "replace": ("±", "yellow"),
}
_MARKS: Final = {Outcome.FAILED: "failed", Outcome.UNREACHABLE: "cannot be reached"}


class DeployDisplay(ABC):
    """Where a deployment says what it does. Used as a context manager."""

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
    def plan(self, changes: Sequence[Planned]) -> None:
        """Show what Terraform would change."""

    @abstractmethod
    def site(self, site: Site) -> None:
        """Show which host does what."""

    @abstractmethod
    def resource(self, event: TerraformEvent) -> None:
        """Show what Terraform does."""

    @abstractmethod
    def play(self, event: PlayEvent) -> None:
        """Show what Ansible does."""

    @abstractmethod
    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Show some named facts."""


class DeployFacts(DeployDisplay):
    """Facts as JSON lines, for programs."""

    def step(self, what: str) -> None:
        """Print the step."""
        self._print("step", detail=what)

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._print("note", detail=sentence)

    def plan(self, changes: Sequence[Planned]) -> None:
        """Print all changes as one object."""
        self._print("plan", changes=[{"address": change.address, "action": change.action} for change in changes])

    def site(self, site: Site) -> None:
        """Print every host as an object of its own."""
        for host in site.hosts:
            self._print("host", host=host.name, groups=list(host.groups), clients=list(host.client_ids))

    def resource(self, event: TerraformEvent) -> None:
        """Print what happens to a resource, and warnings."""
        match event:
            case ResourceStep():
                where = {"address": event.address, "action": event.action}
                self._print("resource", **where, state=str(event.step), seconds=event.seconds)
            case Diagnostic(severity="warning"):
                self._print("note", detail=_warning(event))
            case _:
                pass

    def play(self, event: PlayEvent) -> None:
        """Print how a task went on a host."""
        if isinstance(event, HostDone):
            self._print("task", host=event.host, task=event.task, outcome=str(event.outcome))

    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Print the facts as one object."""
        self._print(event, **{name.replace(" ", "_"): value for name, value in lines})

    def _print(self, event: str, **members: Any) -> None:
        print(as_json_line({"event": event, **members}), flush=True)


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
            does = [group for group in host.groups if group != "clients"]
            if host.client_ids:
                does.append(f"clients ({named(host.client_ids)})")
            table.add_row(host.name, f"{host.ssh.host}:{host.ssh.port}", Text(", ".join(does)))
        self._console.print(table)

    def resource(self, event: TerraformEvent) -> None:
        """Print a resource that is done, and every now and then those that are not."""
        self._resources.take(event)
        match event:
            case Diagnostic(severity="warning"):
                self._line(_warning(event))
            case ResourceStep(step=Step.STARTED):
                self._still_running()
            case ResourceStep():
                self._line(f"{self._resources.done}/{self._resources.planned} {_resource_line(event)}")
            case _:
                pass

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


class DeployLive(DeployLines):
    """A live picture below the lines that stay, for a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._title = ""
        self._began = 0.0
        self._spinner = Spinner("dots")
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
        if isinstance(event, Diagnostic) and event.severity == "warning":
            self._line(_warning(event))
        elif isinstance(event, ResourceStep) and event.step is not Step.STARTED:
            mark = ("✗ ", "red") if event.step is Step.FAILED else ("✓ ", "green")
            self._console.print(Text.assemble(mark, _resource_line(event)), no_wrap=True, overflow="ellipsis")

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
            self._console.print(
                Text.assemble(mark, f"{self._title}: {self._hosts.totals()}, {seconds}"), soft_wrap=True
            )
        self._hosts, self._resources = HostBoard(), ResourceBoard()

    def _render(self) -> RenderableType:
        self._spinner.update(text=escape(f"{self._title}, {self._clock() - self._began:.0f} s"))
        rows: list[RenderableType] = [self._spinner]
        room = max(self._console.height - 4, 3)
        if self._resources.planned:
            rows.append(Text(f"  {self._resources.done} of {self._resources.planned} done", style="dim"))
        running = sorted(self._resources.running.values(), key=lambda step: -step.seconds)
        lines = [_running_line(step) for step in running] + [_host_line(*row) for row in self._hosts.rows.items()]
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


def _resource_line(step: ResourceStep) -> str:
    if step.step is Step.FAILED:
        return f"{short_address(step.address)} failed after {step.seconds:.0f} s"
    return f"{short_address(step.address)} {_PAST.get(step.action, step.action)}, {step.seconds:.0f} s"


def _running_line(step: ResourceStep) -> str:
    return f"{step.seconds:4.0f} s  {_NOW.get(step.action, step.action)} {short_address(step.address)}"


def _host_line(name: str, row: HostRow) -> str:
    mark = "✗" if row.has_failed else "…" if row.is_busy else "✓"
    done = row.counts[Outcome.OK] + row.counts[Outcome.CHANGED]
    return printable(f"{mark} {name:<12} {done:3d} done, {row.counts[Outcome.CHANGED]:3d} changed  {row.task}")


def _warning(diagnostic: Diagnostic) -> str:
    where = f"{short_address(diagnostic.address)}: " if diagnostic.address else ""
    return f"warning: {where}{diagnostic.summary}"
