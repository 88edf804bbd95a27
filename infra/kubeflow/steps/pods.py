"""The workloads of one run: an S3 server, a master, workers. Pure.

They are those of `infra/kubernetes`, for one federation that ends: the master is a Job, which is over when the last
round is; no service account is needed, and nothing scales.
"""

from __future__ import annotations

from typing import Final

from infra.kubeflow.steps import containers
from infra.kubeflow.steps.containers import Volumes
from infra.kubeflow.steps.objects import (
    MASTER,
    S3,
    WORKER,
    Object,
    RunSettings,
    claim,
    labels,
    metadata,
    name_of,
    nginx_configuration,
)

_USER: Final = 10001
"""Of the images."""
_END: Final = 90
"""Seconds that a pod may take to end: more than its program's grace."""
_MASTER_TRIES: Final = 20
"""A master that is started again counts nothing twice and loses nothing, so there is no reason to be stingy."""


def store(settings: RunSettings, nginx_conf: str) -> list[Object]:
    """Return all that S3 is made of: SeaweedFS, and nginx beside it, which does TLS."""
    data: Volumes = {
        "state": (containers.STATE_PATH, _claimed(settings, S3)),
        "tmp": _temporary("256Mi"),
        "identity": (containers.S3_PATH, _secret(settings, "s3-identity")),
    }
    configuration = nginx_configuration(settings, nginx_conf)
    source = {"configMap": {"name": configuration["metadata"]["name"], "defaultMode": 0o444}}
    front: Volumes = {
        "nginx": (containers.NGINX_PATH, source),
        "tls": (containers.TLS_PATH, _secret(settings, f"{S3}-tls")),
        "nginx-tmp": _temporary("64Mi"),
    }
    both = [containers.s3(settings, data), containers.nginx(settings, front)]
    pod = _pod(settings, S3, both, {**data, **front})
    # Never two of them on one volume.
    deployment = _deployment(settings, S3, pod, replicas=1, strategy={"type": "Recreate"})
    return [configuration, claim(settings, S3), deployment]


def aggregators(settings: RunSettings) -> list[Object]:
    """Return the master with its volume, and the workers; round 0 has to be in S3 before they start."""
    return [claim(settings, MASTER), _master(settings), _workers(settings)]


def wanted(settings: RunSettings) -> dict[str, int]:
    """Return how many pods each component has."""
    return {S3: 1, MASTER: 1, WORKER: settings.workers}


def _master(settings: RunSettings) -> Object:
    volumes: Volumes = {
        "state": (containers.STATE_PATH, _claimed(settings, MASTER)),
        **_server_volumes(settings, MASTER, tmp="1Gi"),
        "s3": (containers.S3_PATH, _secret(settings, "s3-credentials")),
    }
    pod = _pod(settings, MASTER, [containers.master(settings, volumes)], volumes)
    pod["spec"]["restartPolicy"] = "OnFailure"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(settings, MASTER, name_of(MASTER, settings.run)),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": _MASTER_TRIES,
            # Never two masters at once, which would be two on one volume.
            "podReplacementPolicy": "Failed",
            "template": pod,
        },
    }


def _workers(settings: RunSettings) -> Object:
    volumes: Volumes = {
        # What they hold may be lost: nothing of it is acknowledged before the master has counted it.
        "state": (containers.STATE_PATH, {"emptyDir": {"sizeLimit": containers.WORKER_DISK}}),
        **_server_volumes(settings, WORKER, tmp="256Mi"),
        "token": (containers.TOKEN_PATH, _secret(settings, "worker-token")),
    }
    pod = _pod(settings, WORKER, [containers.worker(settings, volumes)], volumes)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        # Apart where that can be; together rather than not at all, as on a cluster of one node.
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(settings.run, WORKER)},
    }
    pod["spec"]["topologySpreadConstraints"] = [spread]
    return _deployment(settings, WORKER, pod, replicas=settings.workers, strategy={"type": "RollingUpdate"})


def _pod(settings: RunSettings, component: str, inside: list[Object], volumes: Volumes) -> Object:
    """Return a template of pods."""
    return {
        # TLS is the programs' own, and a sidecar would keep the master's pod from ever being over.
        "metadata": {"labels": labels(settings.run, component) | {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _END,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": inside,
            "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
        },
    }


def _deployment(settings: RunSettings, component: str, pod: Object, *, replicas: int, strategy: Object) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(settings, component, name_of(component, settings.run)),
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": labels(settings.run, component)},
            "template": pod,
        },
    }


def _server_volumes(settings: RunSettings, component: str, *, tmp: str) -> Volumes:
    return {
        "tmp": _temporary(tmp),
        "authority": (containers.AUTHORITY_PATH, _secret(settings, "authority")),
        "verify-keys": (containers.VERIFY_KEYS_PATH, _secret(settings, "verify-keys")),
        "tls": (containers.TLS_PATH, _secret(settings, f"{component}-tls")),
    }


def _temporary(size: str) -> tuple[str, Object]:
    return containers.TMP_PATH, {"emptyDir": {"sizeLimit": size}}


def _secret(settings: RunSettings, name: str) -> Object:
    return {"secret": {"secretName": f"{settings.run}-{name}", "defaultMode": 0o440}}


def _claimed(settings: RunSettings, component: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": name_of(component, settings.run)}}
