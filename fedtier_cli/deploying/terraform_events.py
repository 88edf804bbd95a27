"""What Terraform says while it plans and applies, as values: its machine-readable lines. Pure.

See developer.hashicorp.com/terraform/internals/machine-readable-ui.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from fedtier.documents import json_object
from fedtier.plain_text import printable
from fedtier_cli.deploying.concealing import concealed, without_colour

_SHOWN_DIAGNOSTICS: Final = 6
_SHOWN_LINES: Final = 6


class Step(StrEnum):
    """Where a resource is on its way."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Planned:
    """A change that a plan has.

    Parameters
    ----------
    address : str
    action : str
        ``create``, ``update``, ``replace``, ``delete``; others change nothing.
    """

    address: str
    action: str


@dataclass(frozen=True, slots=True)
class ResourceStep:
    """A resource is changed, or was, or could not be.

    Parameters
    ----------
    address : str
    action : str
    step : Step
    seconds : float
        That it took, or takes so far.
    """

    address: str
    action: str
    step: Step
    seconds: float


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An error or a warning.

    Parameters
    ----------
    severity : str
    summary, detail : str
        Without secrets; the detail may have several lines.
    address : str
        Of the resource that it is about; empty where it is about none.
    """

    severity: str
    summary: str
    detail: str
    address: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """Terraform was told to stop, by a person or because it took too long."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line that is none of the others."""

    text: str


TerraformEvent: TypeAlias = Planned | ResourceStep | Diagnostic | Stopping | Said

_STOPPING: Final = (
    "Terraform is told to stop; it finishes what it has begun. Another Ctrl-C makes it hurry, and may make it forget"
)
_STEPS: Final = {
    "apply_start": Step.STARTED,
    "apply_progress": Step.STARTED,
    "apply_complete": Step.DONE,
    "apply_errored": Step.FAILED,
}
_CHANGES: Final = frozenset({"create", "update", "replace", "delete"})


def terraform_event(line: bytes) -> TerraformEvent:
    """Return a line of Terraform's as a value."""
    members = json_object(line)
    kind = str(members.get("type", ""))
    if kind == "planned_change":
        change = _mapping(members, "change")
        return Planned(_address(change), str(change.get("action", "")))
    hook = _mapping(members, "hook")
    # A data source that is read goes the same way, and is nothing that anybody waits for.
    if kind in _STEPS and hook.get("action") != "read":
        return ResourceStep(
            _address(hook), str(hook.get("action", "")), _STEPS[kind], float(hook.get("elapsed_seconds") or 0)
        )
    if kind == "diagnostic":
        return _diagnostic(_mapping(members, "diagnostic"))
    text = str(members.get("@message", "")) if members else line.decode(errors="replace")
    return Said(_clean(text))


def changes_of(planned: Sequence[Planned]) -> list[Planned]:
    """Return what changes something, by address; reading a data source does not."""
    return sorted((change for change in planned if change.action in _CHANGES), key=lambda change: change.address)


def plan_in_words(changes: Sequence[Planned]) -> str:
    """Return ``49 to create, 2 to replace``, or that nothing is to do."""
    counts = {action: sum(change.action == action for change in changes) for action in sorted(_CHANGES)}
    return ", ".join(f"{count} to {action}" for action, count in counts.items() if count) or "nothing to change"


def short_address(address: str) -> str:
    """Return an address as people know it: without the word ``module``, which stands before every part of the path."""
    return printable(address.replace("module.", ""))


def warning_line(diagnostic: Diagnostic) -> str:
    """Return a warning of Terraform's as one line."""
    where = f"{short_address(diagnostic.address)}: " if diagnostic.address else ""
    return f"warning: {where}{diagnostic.summary}"


def remark(event: TerraformEvent) -> str | None:
    """Return what a person is told of an event that is about no resource's course; None for most."""
    match event:
        case Diagnostic(severity="warning"):
            return warning_line(event)
        case Stopping():
            return _STOPPING
        case _:
            return None


def errors_in_words(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Return a line for each error, and what it says of itself below it."""
    errors = [one for one in dict.fromkeys(diagnostics) if one.severity == "error"]
    lines = []
    for error in errors[:_SHOWN_DIAGNOSTICS]:
        where = f"{short_address(error.address)}: " if error.address else ""
        lines.append(f"{where}{error.summary}")
        lines += [f"  {line}" for line in error.detail.splitlines() if line.strip()][:_SHOWN_LINES]
    if len(errors) > _SHOWN_DIAGNOSTICS:
        lines.append(f"and {len(errors) - _SHOWN_DIAGNOSTICS} more")
    return lines


def _diagnostic(members: Mapping[str, Any]) -> Diagnostic:
    detail = "\n".join(_clean(line) for line in str(members.get("detail", "")).splitlines())
    return Diagnostic(
        str(members.get("severity", "")),
        _clean(str(members.get("summary", ""))),
        detail,
        str(members.get("address", "")),
    )


def _address(members: Mapping[str, Any]) -> str:
    return str(_mapping(members, "resource").get("addr", ""))


def _mapping(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    return value if isinstance(value, Mapping) else {}


def _clean(text: str) -> str:
    return printable(concealed(without_colour(text)).strip())
