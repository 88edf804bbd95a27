"""Every variable and flag of a container is one that its own command knows, with a value that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from tests.infra.kubernetes.environment import environment_of
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.programs import Program, programs_of, variables_of_aws

_OURS: Final = ("FEDTIER_", "AWS_")


def containers_run_commands(manifests: Manifests) -> Iterator[str]:
    """A container with an image of ours runs a command that there is."""
    for program in programs_of(manifests):
        if program.command is None:
            yield f"{program.container.where} runs no command of fedtier"


def variables_are_read(manifests: Manifests) -> Iterator[str]:
    """Whatever variable is set, the container's command reads it."""
    of_aws = variables_of_aws()
    read: dict[str, set[str]] = {}
    for program in programs_of(manifests):
        if program.command is not None:
            known = program.variables_read
            read[program.container.where] = known | (of_aws if program.talks_to_s3 else set())
    for pod in manifests.pods:
        for container in pod.all_containers:
            for name in environment_of(pod, container, manifests):
                if name.startswith(_OURS) and name not in read.get(container.where, set()):
                    yield f"{container.where} sets {name}, which its program does not read"


def values_are_taken(manifests: Manifests) -> Iterator[str]:
    """The command's own parser takes all that it is told, and misses nothing."""
    for program in programs_of(manifests):
        if program.command is not None:
            try:
                program.settings  # noqa: B018 -- reading it is what is tested
            except click.ClickException as error:
                yield f"{program.container.where}: {error.format_message()}"
        yield from _left_over(program)


def programs_for_others_are_guarded(manifests: Manifests) -> Iterator[str]:
    """A server that listens beyond its pod has a certificate, and keys to verify tokens with; nothing goes in plain."""
    for program in programs_of(manifests):
        settings = _settings(program)
        if settings.get("plain_http"):
            yield f"{program.container.where} lets models and tokens travel in plain"
        if program.command is not None and program.command.name in {"master", "worker"}:
            if not (settings.get("certfile") and program.environment.get("FEDTIER_VERIFY_KEYS")):
                yield f"{program.container.where} has no certificate or no keys"
            if settings.get("host") != "0.0.0.0":
                yield f"{program.container.where} is not to be reached from beyond its pod"


def listening_ports_are_declared(manifests: Manifests) -> Iterator[str]:
    """The port that a server is told is one that its container declares."""
    for program in programs_of(manifests):
        settings = _settings(program)
        port, host = settings.get("port"), settings.get("host")
        if port and host == "0.0.0.0" and port not in program.container.ports.values():
            yield f"{program.container.where} listens on {port}, and declares {program.container.ports}"


def _settings(program: Program) -> dict[str, object]:
    try:
        return program.settings if program.command is not None else {}
    except click.ClickException:
        return {}  # another rule says so


def _left_over(program: Program) -> Iterator[str]:
    told = [*program.words, *(value for name, value in program.environment.items() if name.startswith(_OURS))]
    for text in told:
        if "$(" in text:
            yield f"{program.container.where} is told {text!r}, of which nothing is put in"
