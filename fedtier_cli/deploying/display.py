"""What a deployment shows: the interface, and facts as JSON lines. See `line_display` and `live_display` too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fedtier_cli.deploying.plays import HostDone, PlayEvent
from fedtier_cli.deploying.site import Site
from fedtier_cli.deploying.terraform_events import (
    Planned,
    ResourceStep,
    TerraformEvent,
    remark,
)
from fedtier_cli.processes import as_json_line


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
            case _:
                said = remark(event)
                if said is not None:
                    self.note(said)

    def play(self, event: PlayEvent) -> None:
        """Print how a task went on a host."""
        if isinstance(event, HostDone):
            self._print("task", host=event.host, task=event.task, outcome=str(event.outcome))

    def facts(self, event: str, lines: Sequence[tuple[str, str]]) -> None:
        """Print the facts as one object."""
        self._print(event, **{name.replace(" ", "_"): value for name, value in lines})

    def _print(self, event: str, **members: Any) -> None:
        print(as_json_line({"event": event, **members}), flush=True)
