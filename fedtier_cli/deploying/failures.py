"""What Ansible said of tasks that failed, in words: which hosts, which task, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fedtier.plain_text import printable
from fedtier_cli.attendance import by_number
from fedtier_cli.deploying.concealing import concealed, without_colour
from fedtier_cli.deploying.plays import HostDone, Outcome
from fedtier_cli.progress import named

_SHOWN_FAILURES: Final = 4
_SHOWN_LINES: Final = 6
_LONGEST_LINE: Final = 400
_CENSORED: Final = "the task handles secrets, so Ansible shows no message"
_TASK: Final = "Task failed: "
_CONNECTION: Final = "Failed to connect to the host via ssh: "
_OUTPUTS: Final = ("stderr", "module_stderr", "stdout", "module_stdout")


def failures_in_words(failures: Sequence[HostDone]) -> list[str]:
    """Return a line for each task that failed with the hosts on which it did, and what the module said below it."""
    together: dict[tuple[str, Outcome, tuple[str, ...]], list[str]] = {}
    for failure in failures:
        together.setdefault((failure.task, failure.outcome, reason(failure)), []).append(failure.host)
    lines = []
    for (task, outcome, (first, *more)), hosts in list(together.items())[:_SHOWN_FAILURES]:
        where = named(sorted(hosts, key=by_number))  # they fail in any order
        if outcome is Outcome.UNREACHABLE:
            lines.append(f"{where} cannot be reached, in the task {printable(task)!r}: {first}")
        else:
            lines.append(f"the task {printable(task)!r} failed on {where}: {first}")
        lines += [f"  {line}" for line in more]
    if len(together) > _SHOWN_FAILURES:
        lines.append(f"and {len(together) - _SHOWN_FAILURES} more")
    return lines


def reason(failure: HostDone) -> tuple[str, ...]:
    """Return why a task failed on a host, as its module says it: in lines, without secrets and control characters."""
    first, *more = _module_lines(failure.result)
    first = first.removeprefix(_TASK)
    if failure.outcome is Outcome.UNREACHABLE:
        first = "there is no connection" if first == _CENSORED else first.removeprefix(_CONNECTION)
    return (first, *more)


def _module_lines(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a module's message, then the end of what it printed. At least one line."""
    if "censored" in result:
        return (_CENSORED,)
    items = [one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")]
    if items:
        # Of a loop, the message above them is only that items failed.
        return _module_lines(items[0])
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
    lines = (printable(line).strip() for line in concealed(without_colour(text)).splitlines())
    return [line[:_LONGEST_LINE] for line in lines if line]
