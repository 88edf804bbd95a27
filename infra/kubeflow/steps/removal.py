"""Takes away all that a run has in the cluster, and waits until it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fedtier.problems import StartupError
from infra.kubeflow.steps.namespace import Namespace
from infra.kubeflow.steps.server_secrets import secret_names

_DELETED: Final = ("Deployment", "Job", "Service", "ConfigMap", "NetworkPolicy", "PersistentVolumeClaim")
"""Kinds that are found by the run's label."""
_MOST_SECONDS: Final = 300.0
"""More than a pod may take to end, and its volume to be let go after that."""
_LOOK_AGAIN: Final = 1.0


def remove(
    namespace: Namespace,
    run: str,
    *,
    limit: float = _MOST_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Delete a run's objects, return when they and their pods are gone, and say what was there.

    Parameters
    ----------
    namespace : Namespace
    run : str
        From `infra.kubeflow.steps.objects.run_name`.
    limit : float
        Seconds that it takes at most.
    clock : callable
        Seconds, never less than before.
    pause : callable
        Takes the seconds until the next look.

    Raises
    ------
    StartupError
        Something is still there then, or the cluster does not let it be deleted.
    """
    removed = [f"Secret {name}" for name in secret_names(run) if namespace.delete("Secret", name)]
    seen: dict[tuple[str, str], None] = {}
    deadline = clock() + limit
    while left := _left(namespace, run):
        for kind, name in left:
            # Pods go with what made them. What came late, of a try that was still at it, is deleted too.
            if kind != "Pod" and (kind, name) not in seen:
                namespace.delete(kind, name)
        seen.update(dict.fromkeys(left))
        if clock() > deadline:
            names = ", ".join(f"{kind} {name}" for kind, name in left)
            raise StartupError(f"still there {limit:g} s after it was to go: {names}")
        pause(_LOOK_AGAIN)
    return [*removed, *(f"{kind} {name}" for kind, name in seen)]


def _left(namespace: Namespace, run: str) -> list[tuple[str, str]]:
    return [(kind, str(one["metadata"]["name"])) for kind in (*_DELETED, "Pod") for one in namespace.listed(kind, run)]
