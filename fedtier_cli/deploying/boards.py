"""How far hosts and resources are, from the events of Ansible and Terraform. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fedtier_cli.attendance import by_number
from fedtier_cli.deploying.plays import HostDone, Outcome, PlayEvent, PlayStarted, TaskOnHost, TaskStarted
from fedtier_cli.deploying.terraform_events import Planned, ResourceStep, Step, TerraformEvent
from fedtier_cli.progress import named
from fedtier_cli.situation import plural

_BAD = (Outcome.FAILED, Outcome.UNREACHABLE)


@dataclass(slots=True)
class HostRow:
    """A host in the midst of a playbook.

    Parameters
    ----------
    task : str
        The last that it began.
    is_busy : bool
        Whether it still does.
    counts : Counter of Outcome
    """

    task: str = ""
    is_busy: bool = False
    counts: Counter[Outcome] = field(default_factory=Counter)

    @property
    def has_failed(self) -> bool:
        """Whether a task failed there, or it could not be reached."""
        return any(self.counts[outcome] for outcome in _BAD)


@dataclass(slots=True)
class HostBoard:
    """All hosts in the midst of a playbook."""

    play: str = ""
    task: str = ""
    rows: dict[str, HostRow] = field(default_factory=dict)
    _now: dict[Outcome, list[str]] = field(default_factory=dict)

    def take(self, event: PlayEvent) -> list[str]:
        """Note an event, and return lines about what is over with it: a task, with how it went where."""
        match event:
            case PlayStarted(play=play):
                done = self.flush()
                self.play = play
                return done
            case TaskStarted(task=task):
                done = self.flush()
                self.task = task
                return done
            case TaskOnHost(task=task, host=host):
                row = self.rows.setdefault(host, HostRow())
                row.task, row.is_busy = task, True
            case HostDone(host=host, outcome=outcome):
                row = self.rows.setdefault(host, HostRow())
                row.is_busy = False
                row.counts[outcome] += 1
                self._now.setdefault(outcome, []).append(host)
            case _:
                pass
        return []

    def flush(self) -> list[str]:
        """Return a line about the task that is over, or none where every host skipped it."""
        went = [(outcome, hosts) for outcome, hosts in self._now.items() if outcome is not Outcome.SKIPPED]
        parts = [f"{outcome} on {named(sorted(hosts, key=by_number))}" for outcome, hosts in went]
        task, self._now = self.task, {}
        return [f"{task}: {', '.join(parts)}"] if parts else []

    def totals(self) -> str:
        """Return ``8 hosts: 120 tasks done, 31 changed something``."""
        counts = sum((row.counts for row in self.rows.values()), Counter[Outcome]())
        done = counts[Outcome.OK] + counts[Outcome.CHANGED]
        failed = sum(row.has_failed for row in self.rows.values())
        changed = counts[Outcome.CHANGED]
        text = f"{plural(len(self.rows), 'host')}: {plural(done, 'task')} done, {changed} changed something"
        return f"{text}, {plural(failed, 'host')} failed" if failed else text


@dataclass(slots=True)
class ResourceBoard:
    """All resources in the midst of an apply."""

    planned: int = 0
    done: int = 0
    running: dict[str, ResourceStep] = field(default_factory=dict)

    def take(self, event: TerraformEvent) -> None:
        """Note an event."""
        match event:
            case Planned():
                self.planned += 1
            case ResourceStep(address=address, step=Step.STARTED):
                self.running[address] = event
            case ResourceStep(address=address):
                self.running.pop(address, None)
                self.done += 1
            case _:
                pass
