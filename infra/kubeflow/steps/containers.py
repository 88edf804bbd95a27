"""The containers of one run's servers: which program, told what, with what to find at which path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedtier_cli.seaweed import REGION
from infra.kubeflow.steps.objects import (
    BUCKET,
    MASTER,
    PORTS,
    S3,
    WORKER,
    Object,
    RunSettings,
    address_of,
    bucket_key,
)

STATE_PATH: Final = "/var/lib/fedtier"
AUTHORITY_PATH: Final = "/etc/fedtier/authority"
VERIFY_KEYS_PATH: Final = "/etc/fedtier/verify-keys"
TLS_PATH: Final = "/etc/fedtier/tls"
TOKEN_PATH: Final = "/etc/fedtier/token"  # noqa: S105 -- a folder
S3_PATH: Final = "/etc/fedtier/s3"
NGINX_PATH: Final = "/etc/fedtier/nginx"
TMP_PATH: Final = "/tmp"  # nosec B108 # noqa: S108 -- a volume of the container's own
_EVERY_ADDRESS: Final = "0.0.0.0"  # nosec B104 # noqa: S104 -- with TLS and tokens, for the other pods
WORKER_DISK: Final = "6Gi"
"""For bodies that wait, of which `_SPOOL_MAX` says how many, and for batches and models."""

_SPOOL_MAX: Final = 2 << 30
_GRACE: Final = 30
"""Seconds for open requests, of those that a pod has to end."""
_BEHIND_TLS: Final = "18333"
"""Where nginx.conf looks for S3, on loopback."""
_LITTLE_DISK: Final = ("64Mi", "1Gi")
"""What is asked for, and what there may be, of the node's disk."""
_WORKER_DISK: Final = ("1Gi", "7Gi")
_RESTRICTED: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

Volumes = Mapping[str, tuple[str, Object]]
"""By name: where a volume is mounted, and what it is."""


def s3(settings: RunSettings, volumes: Volumes) -> Object:
    """Return SeaweedFS, which listens on loopback; the probes of `nginx` ask it."""
    environment = {
        "FEDTIER_BUCKET_NAME": BUCKET,
        "FEDTIER_CREDENTIALS": f"{S3_PATH}/s3.json",
        "FEDTIER_HOST": "127.0.0.1",
        "FEDTIER_PORT": _BEHIND_TLS,
        "FEDTIER_JSON": "1",
        "FEDTIER_STATE_DIR": f"{STATE_PATH}/s3",
    }
    return _program(settings, S3, "s3", environment, volumes, disk=_LITTLE_DISK)


def nginx(settings: RunSettings, volumes: Volumes) -> Object:
    """Return what does TLS before S3."""
    return {
        "name": "tls",
        "image": settings.nginx_image,
        "imagePullPolicy": "IfNotPresent",
        # Not by the image's own entry point, which would write to the root.
        "command": ["nginx", "-e", "stderr", "-c", f"{NGINX_PATH}/nginx.conf", "-g", "daemon off;"],
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


def master(settings: RunSettings, volumes: Volumes) -> Object:
    """Return the master, which ends when the last round is published."""
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
        # With 0, a master that is told to stop, with its node, would count as done and be started nowhere else.
        "FEDTIER_STOPPED_STATUS": "143",
        "FEDTIER_NO_TENSORBOARD": "1",
        "FEDTIER_STATE_DIR": f"{STATE_PATH}/master",
        "AWS_ENDPOINT_URL_S3": address_of(S3, settings),
        "AWS_REGION": REGION,
        "AWS_SHARED_CREDENTIALS_FILE": f"{S3_PATH}/credentials",
        "AWS_CA_BUNDLE": f"{AUTHORITY_PATH}/ca.pem",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    container = _server(settings, MASTER, "master", environment, volumes, disk=_LITTLE_DISK)
    # Before it listens it reads its journal, which may take its time.
    return container | {"startupProbe": _asks("/healthz", period=5, failures=120)}


def worker(settings: RunSettings, volumes: Volumes) -> Object:
    """Return a worker."""
    environment = {
        "FEDTIER_AUDIENCE": settings.run,
        "FEDTIER_MASTER": address_of(MASTER, settings),
        "FEDTIER_STATE_DIR": f"{STATE_PATH}/worker",
        # Said here, because the disk that the worker sees is the node's, and a pod that has more on it than its
        # volume may is evicted.
        "FEDTIER_SPOOL_MAX": _SPOOL_MAX,
        "FEDTIER_TOKEN_FILE": f"{TOKEN_PATH}/token",
    }
    container = _server(settings, WORKER, "worker", environment, volumes, disk=_WORKER_DISK)
    return container | {"startupProbe": _asks("/healthz", period=2, failures=60)}


def _server(
    settings: RunSettings,
    component: str,
    command: str,
    environment: Mapping[str, object],
    volumes: Volumes,
    *,
    disk: tuple[str, str],
) -> Object:
    """Return an aggregator, which listens with TLS and takes tokens."""
    listening = {
        "FEDTIER_HOST": _EVERY_ADDRESS,
        "FEDTIER_PORT": PORTS[component],
        "FEDTIER_JSON": "1",
        "FEDTIER_GRACE": _GRACE,
        "FEDTIER_VERIFY_KEYS": VERIFY_KEYS_PATH,
        "FEDTIER_CERTFILE": f"{TLS_PATH}/tls.crt",
        "FEDTIER_KEYFILE": f"{TLS_PATH}/tls.key",
        "FEDTIER_CA_CERTS": f"{AUTHORITY_PATH}/ca.pem",
    }
    return _program(settings, component, command, {**environment, **listening}, volumes, disk=disk) | {
        "ports": [{"name": "https", "containerPort": PORTS[component]}],
        "livenessProbe": _asks("/healthz", period=10, failures=6),
        "readinessProbe": _asks("/readyz", period=5, failures=2),
    }


def _program(
    settings: RunSettings,
    name: str,
    command: str,
    environment: Mapping[str, object],
    volumes: Volumes,
    *,
    disk: tuple[str, str],
) -> Object:
    """Return a container that runs a command of fedtier."""
    asked, most = disk
    return {
        "name": name,
        "image": settings.server_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [command],
        "env": [{"name": variable, "value": str(value)} for variable, value in environment.items()],
        "resources": {
            "requests": {
                "cpu": settings.cpu_request,
                "memory": settings.memory_request,
                "ephemeral-storage": asked,
            },
            "limits": {"cpu": settings.cpu_limit, "memory": settings.memory_limit, "ephemeral-storage": most},
        },
        "securityContext": _RESTRICTED,
        "volumeMounts": _mounts(volumes),
    }


def _mounts(volumes: Volumes) -> list[Object]:
    return [
        {"name": name, "mountPath": path} | ({"readOnly": True} if source.keys() & {"secret", "configMap"} else {})
        for name, (path, source) in volumes.items()
    ]


def _asks(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"scheme": "HTTPS", "path": path, "port": "https"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
