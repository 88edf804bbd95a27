"""What Ansible says while it runs a playbook, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from fedtier.plain_text import printable
from fedtier_cli.deploying.concealing import concealed
from fedtier_cli.progress import named

_SHOWN_FAILURES: Final = 4
_SHOWN_LINES: Final = 6
_LONGEST_LINE: Final = 400
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_CENSORED: Final = "the task handles secrets, so Ansible shows no message"
_OUTPUTS: Final = ("stderr", "module_stderr", "stdout", "module_stdout")


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

    @property
    def message(self) -> tuple[str, ...]:
        """What the module says of a failure, in lines, without secrets and control characters."""
        if self.outcome is Outcome.UNREACHABLE and "censored" in self.result:
            return ("there is no connection",)
        return message_lines(self.result)


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


PlayEvent: TypeAlias = PlayStarted | TaskStarted | TaskOnHost | HostDone | Message | Recap

_OUTCOMES: Final = {
    "runner_on_ok": Outcome.OK,
    "runner_on_skipped": Outcome.SKIPPED,
    "runner_on_failed": Outcome.FAILED,
    "runner_on_unreachable": Outcome.UNREACHABLE,
}
_MESSAGES: Final = frozenset({"verbose", "warning", "error", "deprecated", "system_warning"})
_TASK_STARTS: Final = frozenset({"playbook_on_task_start", "playbook_on_handler_task_start"})


def play_event(raw: Mapping[str, Any]) -> PlayEvent | None:
    """Return an event of ansible-runner as a value; None for one that says nothing here.

    A failure that the playbook ignores is no failure.
    """
    kind, data = str(raw.get("event")), raw.get("event_data") or {}
    if kind in _OUTCOMES:
        return _host_done(_OUTCOMES[kind], data)
    if kind in _TASK_STARTS:
        return TaskStarted(str(data.get("play") or ""), _task(data))
    match kind:
        case "playbook_on_play_start":
            return PlayStarted(str(data.get("play") or data.get("name") or ""))
        case "runner_on_start":
            return TaskOnHost(_task(data), str(data["host"]))
        case "playbook_on_stats":
            return _recap(data)
        case _:
            return _message(raw) if kind in _MESSAGES else None


def failures_in_words(failures: Sequence[HostDone]) -> list[str]:
    """Return a line for each task that failed with the hosts on which it did, and what the module said below it."""
    together: dict[tuple[str, Outcome, tuple[str, ...]], list[str]] = {}
    for failure in failures:
        together.setdefault((failure.task, failure.outcome, failure.message), []).append(failure.host)
    lines = []
    for (task, outcome, (first, *more)), hosts in list(together.items())[:_SHOWN_FAILURES]:
        where = named(hosts)
        if outcome is Outcome.UNREACHABLE:
            lines.append(f"{where} cannot be reached, in the task {printable(task)!r}: {first}")
        else:
            lines.append(f"the task {printable(task)!r} failed on {where}: {first}")
        lines += [f"  {line}" for line in more]
    if len(together) > _SHOWN_FAILURES:
        lines.append(f"and {len(together) - _SHOWN_FAILURES} more")
    return lines


def message_lines(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a module said: its message first, then the end of what it printed. At least one line."""
    if "censored" in result:
        return (_CENSORED,)
    items = [one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")]
    if items:
        # Of a loop, the message above them is only that items failed.
        return message_lines(items[0])
    said = _lines(result.get("msg")) or ["no reason was given"]
    for name in _OUTPUTS:
        printed = _lines(result.get(name))
        if printed:
            said += [line for line in printed[-_SHOWN_LINES:] if line not in said]
            break
    first, *more = said
    return (first, *more[-_SHOWN_LINES:])


def _lines(value: object) -> list[str]:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    lines = (printable(line).strip() for line in concealed(_COLOUR.sub("", text)).splitlines())
    return [line[:_LONGEST_LINE] for line in lines if line]


def _task(data: Mapping[str, Any]) -> str:
    name, role = str(data.get("task") or data.get("name") or ""), data.get("role")
    return f"{role} : {name}" if role and not name.startswith(f"{role} : ") else name


def _host_done(outcome: Outcome, data: Mapping[str, Any]) -> HostDone:
    result = data.get("res") or {}
    if data.get("ignore_errors"):
        outcome = Outcome.OK
    elif outcome is Outcome.OK and result.get("changed"):
        outcome = Outcome.CHANGED
    return HostDone(_task(data), str(data["host"]), outcome, result)


def _message(raw: Mapping[str, Any]) -> Message | None:
    text = concealed(_COLOUR.sub("", str(raw.get("stdout") or ""))).strip()
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
