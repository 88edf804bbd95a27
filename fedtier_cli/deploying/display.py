"""What a deployment shows: the interface, and facts as JSON lines. See `line_display` and `live_display` too."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from fedtier_cli.deploying.plays import HostDone, PlayEvent
from fedtier_cli.deploying.site import Site
from fedtier_cli.deploying.terraform_events import (
    Planned,
    ResourceStep,
    TerraformEvent,
    remark,
)
from fedtier_cli.steps import StepDisplay, StepFacts


class DeployDisplay(StepDisplay):
    """Where a deployment says what it does. Used as a context manager."""

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


class DeployFacts(StepFacts, DeployDisplay):
    """Facts as JSON lines, for programs."""

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
