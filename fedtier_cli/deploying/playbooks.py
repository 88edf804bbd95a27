"""Runs the playbooks of ``infra/ansible`` and says, task by task and host by host, how they go.

A playbook may be called again at any time: what is done already stays, so that is how to go on after a failure, a
timeout or a Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fedtier.problems import StartupError
from fedtier_cli.deploying.ansible_run import SUCCESSFUL, TIMED_OUT, See, run_ansible
from fedtier_cli.deploying.checkout import infrastructure
from fedtier_cli.deploying.failures import failures_in_words
from fedtier_cli.deploying.plays import HostDone, HostTally, Message, Outcome, PlayEvent, Recap

_DAY: Final = 86_400.0
_BAD: Final = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})
_SHOWN_MESSAGES: Final = 8
_AGAIN: Final = "mend that and call the same again; what is done already stays"
_REACH: Final = (
    "see that each host is up, and that ssh reaches it at the inventory's address, port, user and key; then call the "
    "same again, what is done already stays"
)


@dataclass(frozen=True, slots=True)
class PlayResult:
    """How a playbook went that went well.

    Parameters
    ----------
    hosts : Mapping of str to HostTally
    seconds : float
    """

    hosts: Mapping[str, HostTally]
    seconds: float

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts together."""
        return sum(tally.changed for tally in self.hosts.values())


class Playbooks:
    """The playbooks, for one inventory.

    Parameters
    ----------
    inventory : Path
        File in YAML or JSON.
    key_path : Path, optional
        SSH key; by default the inventory's or the user's usual ones.
    folder : Path, optional
        With ``playbooks``, and ``ansible.cfg`` if there is one; by default the checkout's ``infra/ansible``.

    Raises
    ------
    StartupError
        There is no such inventory, or this is no checkout.
    """

    def __init__(self, inventory: Path, key_path: Path | None = None, *, folder: Path | None = None) -> None:
        if not inventory.is_file():
            raise StartupError(
                f"there is no inventory {inventory}; name one by --inventory, infra/ansible/inventory has an example"
            )
        self.inventory = inventory.resolve()
        self.key_path = key_path.resolve() if key_path is not None else None
        self._folder = (infrastructure() / "ansible" if folder is None else folder).resolve()

    def run(
        self,
        name: str,
        *,
        extra_vars: Mapping[str, Any] | None = None,
        limit: str | None = None,
        timeout: float | None = None,
        see: See | None = None,
    ) -> PlayResult:
        """Run a playbook to its end.

        Parameters
        ----------
        name : str
            ``init`` for ``playbooks/init.yml``.
        extra_vars : Mapping, optional
        limit : str, optional
            Pattern of hosts; by default all of the inventory.
        timeout : float, optional
            Seconds; a day by default.
        see : callable, optional
            Gets every event as it happens, in the thread of the caller.

        Raises
        ------
        StartupError
            It did not go well: names task, hosts, what the module said without secrets, and how to go on.
        """
        playbook = self._folder / "playbooks" / f"{name}.yml"
        if not playbook.is_file():
            raise StartupError(f"there is no playbook {playbook}; is the checkout whole?")
        began, seconds = time.monotonic(), timeout or _DAY
        course = _Course(see)
        with tempfile.TemporaryDirectory(prefix="fedtier-ansible-") as private:
            settings = self._settings(private, playbook, extra_vars or {}, limit)
            status = run_ansible(settings, course.take, timeout=seconds)
        if status != SUCCESSFUL:
            raise StartupError(course.in_words(playbook.name, status, seconds))
        return PlayResult(course.hosts, time.monotonic() - began)

    def _settings(
        self, private: str, playbook: Path, extra_vars: Mapping[str, Any], limit: str | None
    ) -> dict[str, Any]:
        key = [] if self.key_path is None else ["--private-key", str(self.key_path)]
        settings = {
            "private_data_dir": private,
            "project_dir": str(self._folder),
            "playbook": str(playbook),
            "inventory": str(self.inventory),
            "extravars": dict(extra_vars),
            "envvars": _environment(self._folder),
        }
        if key:
            settings["cmdline"] = shlex.join(key)
        if limit is not None:
            settings["limit"] = limit
        return settings


@dataclass(slots=True)
class _Course:
    """What was seen of a playbook."""

    see: See | None
    failures: list[HostDone] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    hosts: Mapping[str, HostTally] = field(default_factory=dict)

    def take(self, event: PlayEvent) -> None:
        match event:
            case HostDone(outcome=outcome) if outcome in _BAD:
                self.failures.append(event)
            case Message(text=text):
                self.messages.append(text)
            case Recap(hosts=hosts):
                self.hosts = hosts
            case _:
                pass
        if self.see is not None:
            self.see(event)

    def in_words(self, playbook: str, status: str, timeout: float) -> str:
        if status == TIMED_OUT:
            return f"{playbook} was not done after {timeout:.0f} s and was ended; call the same again, to go on there"
        if self.failures:
            away = any(failure.outcome is Outcome.UNREACHABLE for failure in self.failures)
            how = _REACH if away else _AGAIN
            return "\n".join([f"{playbook} did not finish", *failures_in_words(self.failures), how])
        # Warnings may come first.
        start = next((number for number, line in enumerate(self.messages) if "ERROR" in line), 0)
        said = [f"  {line}" for line in self.messages[start : start + _SHOWN_MESSAGES]]
        return "\n".join([f"{playbook} could not be run; Ansible says", *(said or ["  nothing"]), _AGAIN])


def _environment(folder: Path) -> dict[str, str]:
    # Called by its path, a virtual environment's program does not have its neighbours on the PATH.
    programs = str(Path(sys.executable).parent)
    environment = {
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        # Ansible goes on without hosts otherwise, and finds nothing to do.
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }
    if (folder / "ansible.cfg").is_file():
        environment["ANSIBLE_CONFIG"] = str(folder / "ansible.cfg")
    return environment
