"""Each client has a pod of its own, which comes back until it is done, and the federation knows how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tests.infra.kubernetes.manifests import Manifests, where
from tests.infra.kubernetes.pods import Document
from tests.infra.kubernetes.programs import Program, program_in, programs_of


def every_client_has_a_pod(manifests: Manifests) -> Iterator[str]:
    """The pods of the Indexed Job are client-0, client-1, ..., as many as the master selects from, all at once."""
    wanted = [_clients(manifests)]
    for job in manifests.of("Job"):
        spec = job["spec"]
        if [spec.get("completionMode"), spec.get("parallelism")] != ["Indexed", spec.get("completions")]:
            yield "the clients' Job is not Indexed, or has not all its pods at once"
        pod = manifests.pods_of(job["metadata"]["name"])
        for container in pod.containers:
            programs = [program_in(pod, container, manifests, index=index) for index in range(pod.count)]
            names = [program.environment.get("FEDTIER_CLIENT_ID", "") for program in programs]
            wanted.append(len(names))
            if names != [f"client-{index}" for index in range(len(names))]:
                yield f"the Job's pods are {names}"
    if len(set(wanted)) != 1:
        yield f"the master's clients and the Job's pods differ: {wanted}"


def a_client_that_is_stopped_comes_back(manifests: Manifests) -> Iterator[str]:
    """A program that is stopped with its node does not end with 0, which counts as done, nor with what is given up."""
    for job in manifests.of("Job"):
        final = {0, *_not_retried(job)}
        for program in programs_of(manifests):
            status = _stopped_status(program)
            if program.pod.maker == where(job) and status in final:
                yield f"{program.container.where} ends with {status} when it is stopped, and is not tried again"


def _stopped_status(program: Program) -> int | None:
    """Return the exit status of a program that is told to stop, where that is among its settings."""
    try:
        settings = program.settings if program.command is not None else {}
    except click.ClickException:
        return None  # another rule says so
    found: int | None = settings.get("stopped_status")
    return found


def _not_retried(job: Document) -> Iterator[int]:
    """Yield the exit statuses after which a pod is given up."""
    for rule in job["spec"].get("podFailurePolicy", {}).get("rules", []):
        if rule["action"] in {"FailIndex", "FailJob"} and rule.get("onExitCodes", {}).get("operator") == "In":
            yield from rule["onExitCodes"]["values"]


def _clients(manifests: Manifests) -> int:
    """Return how many clients the master selects from."""
    masters = [one for one in programs_of(manifests) if one.command is not None and one.command.name == "master"]
    return int(masters[0].environment.get("FEDTIER_CLIENTS", "0")) if masters else 0
