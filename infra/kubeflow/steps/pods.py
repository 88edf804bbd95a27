"""The workloads of one run: an S3 server, a master, workers. Pure.

They are those of `infra/kubernetes`, for one federation that ends: the master is a Job, which is over when the last
round is, no service account is needed, and nothing scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from infra.kubeflow.steps.objects import (
    BUCKET,
    MASTER,
    PORTS,
    REGION,
    S3,
    WORKER,
    Object,
    RunSettings,
    address_of,
    bucket_key,
    claim,
    labels,
    metadata,
    name_of,
    nginx_configuration,
)

_USER: Final = 10001
"""Of the images."""
_RESTRICTED: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_TMP: Final = "256Mi"
_STATE: Final = "/var/lib/fedtier"
_AUTHORITY: Final = "/etc/fedtier/authority"
_VERIFY_KEYS: Final = "/etc/fedtier/verify-keys"
_TLS: Final = "/etc/fedtier/tls"
_TOKEN: Final = "/etc/fedtier/token"  # noqa: S105 -- a folder
_CREDENTIALS: Final = "/etc/fedtier/s3"
_NGINX: Final = "/etc/fedtier/nginx"
_BEHIND_TLS: Final = "18333"
"""Where nginx.conf looks for S3, on loopback."""
_SPOOL_MAX: Final = 2 << 30
_WORKER_STATE: Final = "6Gi"
_GRACE: Final = 30
_END: Final = 90
"""Seconds that a server may take to end: more than its grace."""
_MASTER_TRIES: Final = 20
"""A master that is started again counts nothing twice and loses nothing, so there is no reason to be stingy."""

_Volumes = dict[str, tuple[str, Object]]
"""By name: where it is mounted, and what it is."""


def store(settings: RunSettings, nginx_conf: str) -> list[Object]:
    """Return all that S3 is made of: SeaweedFS, which listens on loopback, and nginx beside it, which does TLS."""
    data: _Volumes = {"state": (_STATE, _claimed(settings, S3))}
    data |= {"tmp": _temporary(), "identity": (_CREDENTIALS, _secret(settings, "s3-identity"))}
    front: _Volumes = {
        "nginx": (_NGINX, {"configMap": {"name": f"{settings.run}-s3-tls", "defaultMode": 0o444}}),
        "tls": (_TLS, _secret(settings, "s3-tls")),
        "nginx-tmp": ("/tmp", {"emptyDir": {"sizeLimit": "64Mi"}}),  # noqa: S108 -- in a container
    }
    containers = [_s3_container(settings, data), _nginx_container(settings, front)]
    pod = _pod(settings, S3, containers, data | front, end=60)
    return [
        nginx_configuration(settings, nginx_conf),
        claim(settings, S3),
        # Never two of them on one volume.
        _deployment(settings, S3, pod, replicas=1, strategy={"type": "Recreate"}),
    ]


def aggregators(settings: RunSettings) -> list[Object]:
    """Return the master with its volume, and the workers; round 0 has to be in S3 before they start."""
    return [claim(settings, MASTER), _master(settings), _workers(settings)]


def wanted(settings: RunSettings) -> dict[str, int]:
    """Return how many pods each component has."""
    return {S3: 1, MASTER: 1, WORKER: settings.workers}


def _s3_container(settings: RunSettings, volumes: _Volumes) -> Object:
    environment = {
        "FEDTIER_BUCKET_NAME": BUCKET,
        "FEDTIER_CREDENTIALS": f"{_CREDENTIALS}/s3.json",
        "FEDTIER_HOST": "127.0.0.1",
        "FEDTIER_PORT": _BEHIND_TLS,
        "FEDTIER_JSON": "1",
        "FEDTIER_STATE_DIR": f"{_STATE}/s3",
    }
    return _container(settings, "s3", volumes) | {"args": ["s3"], "env": _variables(environment)}


def _nginx_container(settings: RunSettings, volumes: _Volumes) -> Object:
    return {
        "name": "tls",
        "image": settings.nginx_image,
        "imagePullPolicy": "IfNotPresent",
        # Not by the image's own entry point, which would write to the root.
        "command": ["nginx", "-e", "stderr", "-c", f"{_NGINX}/nginx.conf", "-g", "daemon off;"],
        "ports": [{"name": "https", "containerPort": PORTS[S3]}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi", "ephemeral-storage": "16Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi", "ephemeral-storage": "128Mi"},
        },
        # Through nginx to SeaweedFS: each is nothing without the other.
        "startupProbe": _asks("/healthz", period=2, failures=60),
        "livenessProbe": {
            "tcpSocket": {"port": "https"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": _asks("/healthz", period=5, failures=2),
        "securityContext": _RESTRICTED,
        "volumeMounts": _mounts(volumes),
    }


def _master(settings: RunSettings) -> Object:
    training = settings.training
    environment = {
        "FEDTIER_AUDIENCE": settings.run,
        "FEDTIER_CLIENTS": settings.clients,
        "FEDTIER_MIN_CLIENTS": settings.min_clients,
        "FEDTIER_DEADLINE": settings.deadline,
        "FEDTIER_ROUNDS": settings.rounds,
        "FEDTIER_EPOCH": training.epochs,
        "FEDTIER_BATCH_SIZE": training.batch_size,
        "FEDTIER_LR": training.lr,
        "FEDTIER_OPTIMIZER": training.optimizer,
        "FEDTIER_MOMENTUM": training.momentum,
        "FEDTIER_WEIGHT_DECAY": training.weight_decay,
        "FEDTIER_PROX_MU": training.prox_mu,
        "FEDTIER_BUCKET_NAME": BUCKET,
        "FEDTIER_BUCKET_KEY": bucket_key(settings.task),
        "FEDTIER_EXIT_WHEN_FINISHED": "1",
        "FEDTIER_NO_TENSORBOARD": "1",
        "FEDTIER_STATE_DIR": f"{_STATE}/master",
        "AWS_ENDPOINT_URL_S3": address_of(S3, settings),
        "AWS_REGION": REGION,
        "AWS_SHARED_CREDENTIALS_FILE": f"{_CREDENTIALS}/credentials",
        "AWS_CA_BUNDLE": f"{_AUTHORITY}/ca.pem",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    volumes: _Volumes = {"state": (_STATE, _claimed(settings, MASTER))}
    volumes |= _server_volumes(settings, MASTER)
    volumes["s3"] = (_CREDENTIALS, _secret(settings, "s3-credentials"))
    # Before it listens it reads its journal, which may take its time.
    container = _server(
        settings, MASTER, "master", environment, volumes, start=_asks("/healthz", period=5, failures=120)
    )
    pod = _pod(settings, MASTER, [container], volumes, end=_END)
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
            "template": pod | {"spec": pod["spec"] | {"restartPolicy": "OnFailure"}},
        },
    }


def _workers(settings: RunSettings) -> Object:
    environment = {
        "FEDTIER_AUDIENCE": settings.run,
        "FEDTIER_MASTER": address_of(MASTER, settings),
        "FEDTIER_STATE_DIR": f"{_STATE}/worker",
        # Said here, because the disk that the worker sees is the node's, and a pod that has more on it than its
        # volume may is evicted.
        "FEDTIER_SPOOL_MAX": _SPOOL_MAX,
        "FEDTIER_TOKEN_FILE": f"{_TOKEN}/token",
    }
    # What they hold may be lost: nothing of it is acknowledged before the master has counted it.
    volumes: _Volumes = {"state": (_STATE, {"emptyDir": {"sizeLimit": _WORKER_STATE}})}
    volumes |= _server_volumes(settings, WORKER)
    volumes["token"] = (_TOKEN, _secret(settings, "worker-token"))
    container = _server(
        settings, WORKER, "worker", environment, volumes, start=_asks("/healthz", period=2, failures=60)
    )
    pod = _pod(settings, WORKER, [container], volumes, end=_END)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        # Apart where that can be; together rather than not at all, as on a cluster of one node.
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(settings.run, WORKER)},
    }
    pod["spec"]["topologySpreadConstraints"] = [spread]
    return _deployment(settings, WORKER, pod, replicas=settings.workers, strategy={"type": "RollingUpdate"})


def _server(
    settings: RunSettings,
    component: str,
    command: str,
    environment: Mapping[str, object],
    volumes: _Volumes,
    *,
    start: Object,
) -> Object:
    """Return the container of an aggregator: it listens with TLS, and takes tokens."""
    common = {
        "FEDTIER_HOST": "0.0.0.0",  # noqa: S104 -- with TLS and tokens, for the other pods
        "FEDTIER_PORT": PORTS[component],
        "FEDTIER_JSON": "1",
        "FEDTIER_GRACE": _GRACE,
        "FEDTIER_VERIFY_KEYS": _VERIFY_KEYS,
        "FEDTIER_CERTFILE": f"{_TLS}/tls.crt",
        "FEDTIER_KEYFILE": f"{_TLS}/tls.key",
        "FEDTIER_CA_CERTS": f"{_AUTHORITY}/ca.pem",
    }
    return _container(settings, component, volumes) | {
        "args": [command],
        "ports": [{"name": "https", "containerPort": PORTS[component]}],
        "env": _variables({**environment, **common}),
        "startupProbe": start,
        "livenessProbe": _asks("/healthz", period=10, failures=6),
        "readinessProbe": _asks("/readyz", period=5, failures=2),
    }


def _container(settings: RunSettings, name: str, volumes: _Volumes) -> Object:
    """Return what all containers with a program of fedtier have in common."""
    on_disk = sum(("emptyDir" in source) for _, source in volumes.values()) > 1
    asked, most = ("1Gi", "7Gi") if on_disk else ("64Mi", "1Gi")
    return {
        "name": name,
        "image": settings.server_image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": settings.resources["requests"] | {"ephemeral-storage": asked},
            "limits": settings.resources["limits"] | {"ephemeral-storage": most},
        },
        "securityContext": _RESTRICTED,
        "volumeMounts": _mounts(volumes),
    }


def _pod(
    settings: RunSettings, component: str, containers: list[Object], volumes: _Volumes, *, end: int
) -> dict[str, Any]:
    """Return a template of pods."""
    return {
        # TLS is the programs' own, and a sidecar would keep the master's pod from ever being over.
        "metadata": {"labels": labels(settings.run, component) | {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": end,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": containers,
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


def _server_volumes(settings: RunSettings, component: str) -> _Volumes:
    return {
        "tmp": _temporary(),
        "authority": (_AUTHORITY, _secret(settings, "authority")),
        "verify-keys": (_VERIFY_KEYS, _secret(settings, "verify-keys")),
        "tls": (_TLS, _secret(settings, f"{component}-tls")),
    }


def _temporary() -> tuple[str, Object]:
    return "/tmp", {"emptyDir": {"sizeLimit": _TMP}}  # noqa: S108 -- in a container


def _secret(settings: RunSettings, name: str) -> Object:
    return {"secret": {"secretName": f"{settings.run}-{name}", "defaultMode": 0o440}}


def _claimed(settings: RunSettings, component: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": name_of(component, settings.run)}}


def _mounts(volumes: _Volumes) -> list[Object]:
    return [
        {"name": name, "mountPath": path} | ({"readOnly": True} if source.keys() & {"secret", "configMap"} else {})
        for name, (path, source) in volumes.items()
    ]


def _variables(values: Mapping[str, object]) -> list[Object]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _asks(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"scheme": "HTTPS", "path": path, "port": "https"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
