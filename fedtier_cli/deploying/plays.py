"""What Ansible says while it runs a playbook, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias

from fedtier.plain_text import printable
from fedtier_cli.deploying.concealing import concealed, without_colour


class Outcome(StrEnum):
    """How a task went on a host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class PlayStarted:
    """A play begins.

    Parameters
    ----------
    play : str
    """

    play: str


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task begins, on all hosts of its play.

    Parameters
    ----------
    play, task : str
        A role's task is ``role : task``.
    """

    play: str
    task: str


@dataclass(frozen=True, slots=True)
class TaskOnHost:
    """A task begins on a host.

    Parameters
    ----------
    task, host : str
    """

    task: str
    host: str


@dataclass(frozen=True, slots=True)
class HostDone:
    """A task ended on a host.

    Parameters
    ----------
    task, host : str
    outcome : Outcome
    result : Mapping of str to object
        What the module returned; of a task with ``no_log`` nothing but a sentence that it is hidden.
    """

    task: str
    host: str
    outcome: Outcome
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ItemDone:
    """One item of a task's loop ended on a host.

    Parameters
    ----------
    task, host : str
    item : object
    outcome : Outcome
    """

    task: str
    host: str
    item: object
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Message:
    """A line that Ansible printed and that belongs to no task: a warning, or why it did not start.

    Parameters
    ----------
    text : str
    """

    text: str


@dataclass(frozen=True, slots=True)
class HostTally:
    """How many tasks went how on a host.

    Parameters
    ----------
    ok : int
        Those that changed something among them, as Ansible counts.
    changed, skipped, failed, unreachable : int
    """

    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    unreachable: int = 0


@dataclass(frozen=True, slots=True)
class Recap:
    """A playbook ended.

    Parameters
    ----------
    hosts : Mapping of str to HostTally
    """

    hosts: Mapping[str, HostTally]


PlayEvent: TypeAlias = PlayStarted | TaskStarted | TaskOnHost | ItemDone | HostDone | Message | Recap


def play_event(raw: Mapping[str, Any]) -> PlayEvent | None:
    """Return an event of ansible-runner as a value; None for one that says nothing here.

    A failure that the playbook ignores is no failure.
    """
    kind, data = str(raw.get("event")), raw.get("event_data") or {}
    if kind in _MESSAGES:
        return _message(str(raw.get("stdout") or ""))
    parse = _PARSERS.get(kind)
    return None if parse is None else parse(data)


def _task(data: Mapping[str, Any]) -> str:
    name, role = str(data.get("task") or data.get("name") or ""), data.get("role")
    return f"{role} : {name}" if role and not name.startswith(f"{role} : ") else name


def _host_done(outcome: Outcome, data: Mapping[str, Any]) -> HostDone:
    result = data.get("res") or {}
    outcome = Outcome.OK if data.get("ignore_errors") else _changed(outcome, result)
    return HostDone(_task(data), str(data["host"]), outcome, result)


def _item_done(outcome: Outcome, data: Mapping[str, Any]) -> ItemDone:
    result = data.get("res") or {}
    return ItemDone(_task(data), str(data["host"]), result.get("item"), _changed(outcome, result))


def _changed(outcome: Outcome, result: Mapping[str, Any]) -> Outcome:
    return Outcome.CHANGED if outcome is Outcome.OK and result.get("changed") else outcome


def _message(line: str) -> Message | None:
    text = concealed(without_colour(line)).strip()
    return Message(printable(text)) if text else None


def _recap(data: Mapping[str, Any]) -> Recap:
    columns = {
        "ok": data.get("ok"),
        "changed": data.get("changed"),
        "skipped": data.get("skipped"),
        "failed": data.get("failures"),
        "unreachable": data.get("dark"),
    }
    hosts = sorted({host for column in columns.values() for host in column or {}})
    return Recap(
        {
            host: HostTally(**{name: int((column or {}).get(host, 0)) for name, column in columns.items()})
            for host in hosts
        }
    )


_Data: TypeAlias = Mapping[str, Any]
_MESSAGES: Final = frozenset({"verbose", "warning", "error", "deprecated", "system_warning"})
_PARSERS: Final[Mapping[str, Callable[[_Data], PlayEvent]]] = {
    "playbook_on_play_start": lambda data: PlayStarted(str(data.get("play") or data.get("name") or "")),
    "playbook_on_task_start": lambda data: TaskStarted(str(data.get("play") or ""), _task(data)),
    "playbook_on_handler_task_start": lambda data: TaskStarted(str(data.get("play") or ""), _task(data)),
    "playbook_on_stats": _recap,
    "runner_on_start": lambda data: TaskOnHost(_task(data), str(data["host"])),
    "runner_on_ok": partial(_host_done, Outcome.OK),
    "runner_on_skipped": partial(_host_done, Outcome.SKIPPED),
    "runner_on_failed": partial(_host_done, Outcome.FAILED),
    "runner_on_unreachable": partial(_host_done, Outcome.UNREACHABLE),
    "runner_item_on_ok": partial(_item_done, Outcome.OK),
    "runner_item_on_skipped": partial(_item_done, Outcome.SKIPPED),
    "runner_item_on_failed": partial(_item_done, Outcome.FAILED),
}
