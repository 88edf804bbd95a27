"""Programs get the time that they need to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Container
from tests.infra.kubernetes.programs import programs_of

_DEFAULT_PERIOD: Final = 30


def pods_end_before_they_are_killed(manifests: Manifests) -> Iterator[str]:
    """What a container sleeps before it is told to end, and its grace, leave something of the pod's period."""
    graces = {program.container.where: program.grace for program in programs_of(manifests)}
    for pod in manifests.pods:
        period = pod.spec.get("terminationGracePeriodSeconds", _DEFAULT_PERIOD)
        for container in pod.containers:
            needed = _sleep(container) + graces.get(container.where, 0)
            if needed >= period:
                yield f"{container.where} needs {needed} s to end, and is killed after {period}"


def what_is_scaled_down_drains(manifests: Manifests) -> Iterator[str]:
    """A set that is scaled down sleeps before it ends, while load balancers still learn of it."""
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        pod = manifests.pods_of(scaler["spec"]["scaleTargetRef"]["name"])
        if not any(_sleep(container) for container in pod.containers):
            yield f"{pod.maker} ends at once when it is scaled down"


def _sleep(container: Container) -> int:
    """Return the seconds that a container sleeps before it is told to end."""
    hook = (container.spec.get("lifecycle") or {}).get("preStop") or {}
    words = (hook.get("exec") or {}).get("command") or []
    if words:
        return int(words[-1].rpartition(" ")[2])
    return int((hook.get("sleep") or {}).get("seconds", 0))
