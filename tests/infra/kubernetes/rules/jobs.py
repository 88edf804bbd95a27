"""Each client has a pod of its own, and the federation knows how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.programs import program_in, programs_of


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


def _clients(manifests: Manifests) -> int:
    """Return how many clients the master selects from."""
    masters = [one for one in programs_of(manifests) if one.command is not None and one.command.name == "master"]
    return int(masters[0].environment.get("FEDTIER_CLIENTS", "0")) if masters else 0
