"""Plans, applies and destroys what ``infra/terraform`` describes, and tells of every resource.

A plan is applied as it was shown. A call that failed or was stopped leaves a state that says what is there already, so
the same call again goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from fedtier.plain_text import printable
from fedtier.problems import StartupError
from fedtier_cli.deploying.concealing import concealed, without_colour
from fedtier_cli.deploying.terraform_events import (
    Diagnostic,
    Planned,
    Said,
    Stopping,
    TerraformEvent,
    changes_of,
    errors_in_words,
    terraform_event,
)
from fedtier_cli.deploying.terraform_run import TimedOut, run_terraform

See: TypeAlias = Callable[[TerraformEvent], None]
_GO_ON: Final = "mend that and call the same again"
_KEPT: Final = (
    "mend that and call the same again: what is made already is in the state and stays; or fedtier destroy removes it"
)
_SHOWN_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would do.

    Parameters
    ----------
    path : Path
        Terraform's own file, which may hold secrets.
    changes : tuple of Planned
    """

    path: Path
    changes: tuple[Planned, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that each call of Terraform may take.

    Parameters
    ----------
    init, plan, apply : float
    """

    init: float = 600.0
    plan: float = 600.0
    apply: float = 3600.0


class Terraform:
    """The one adapter of Terraform, for one folder.

    Parameters
    ----------
    folder : Path
        With the ``.tf`` files.
    backend : Mapping of str to str
        Where the state is kept: what the files leave out.
    var_files : sequence of Path
    variables : sequence of str
        Each ``name=value``; they win over the files.
    see : callable
        Gets every event.
    timeouts : Timeouts
    """

    def __init__(
        self,
        folder: Path,
        *,
        backend: Mapping[str, str],
        var_files: Sequence[Path] = (),
        variables: Sequence[str] = (),
        see: See = lambda _: None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._folder = folder
        self._backend = dict(backend)
        self._var_files = [str(path.resolve()) for path in var_files]
        self._variables = list(variables)
        self._see = see
        self._timeouts = timeouts or Timeouts()

    def init(self) -> None:
        """Fetch providers, and find the state.

        Raises
        ------
        StartupError
            Names what is wrong, as all of these do.
        """
        options = {"backend_config": self._backend, "reconfigure": True}
        self._call("init", self._timeouts.init, _GO_ON, **options)

    def plan(
        self, path: Path, *, destroy: bool = False, variables: Sequence[str] = (), targets: Sequence[str] = ()
    ) -> Plan:
        """Find out what is to be done, and write it to a file that is not there yet.

        Parameters
        ----------
        path : Path
            Of the file.
        destroy : bool
            Plan to remove everything.
        variables : sequence of str
            That win over the others, for this plan.
        targets : sequence of str
            Addresses to which the plan is kept; by default it is about everything.

        Raises
        ------
        StartupError
        """
        chosen = {"var_file": self._var_files, "var": [*self._variables, *variables], "target": list(targets)}
        options = {"out": str(path), "destroy": destroy, **chosen}
        events = self._call("plan", self._timeouts.plan, _GO_ON, **options)
        return Plan(path, tuple(changes_of([event for event in events if isinstance(event, Planned)])))

    def apply(self, plan: Plan) -> None:
        """Do what a plan says.

        Raises
        ------
        StartupError
        """
        self._call("apply", self._timeouts.apply, _KEPT, str(plan.path))

    def outputs(self) -> dict[str, Any]:
        """Return the values of all outputs.

        Raises
        ------
        StartupError
        """
        lines: list[bytes] = []
        with _in_words("output", self._timeouts.init):
            status, errors = self._run("output", lines.append, self._timeouts.init)
        try:
            return {name: output["value"] for name, output in json.loads(b"".join(lines)).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            said = concealed(without_colour(errors)).strip()
            raise StartupError(f"terraform output gave no outputs (status {status}): {said}; {_GO_ON}") from None

    def _run(
        self, command: str, see: Callable[[bytes], None], timeout: float, *arguments: str, **options: Any
    ) -> tuple[int, str]:
        return run_terraform(
            self._folder,
            command,
            *arguments,
            see=see,
            stopping=lambda: self._see(Stopping()),
            timeout=timeout,
            json=True,
            **options,
        )

    def _call(self, command: str, timeout: float, go_on: str, *arguments: str, **options: Any) -> list[TerraformEvent]:
        events: list[TerraformEvent] = []

        def take(line: bytes) -> None:
            event = terraform_event(line)
            events.append(event)
            self._see(event)

        with _in_words(command, timeout):
            status, errors = self._run(command, take, timeout, *arguments, input=False, **options)
        if status != 0:
            raise StartupError("\n".join([f"terraform {command} failed", *_reasons(events, errors), go_on]))
        return events


@contextmanager
def _in_words(command: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except TimedOut:
        raise StartupError(
            f"terraform {command} was not done after {timeout:.0f} s, was told to stop, and has saved its state; "
            "call the same again to go on"
        ) from None


def _reasons(events: Sequence[TerraformEvent], errors: str) -> list[str]:
    found = errors_in_words([event for event in events if isinstance(event, Diagnostic)])
    if found:
        return found
    lines = [printable(line).strip() for line in concealed(without_colour(errors)).splitlines()]
    said = [event.text for event in events if isinstance(event, Said) and event.text]
    return [f"  {line}" for line in ([line for line in lines if line] or said)[-_SHOWN_LINES:]]
