"""A run of the pipeline as its settings say it, and all that it has in the cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from infra.kubeflow.steps import pods
from infra.kubeflow.steps.aggregators import nginx_conf
from infra.kubeflow.steps.objects import Object, RunSettings, network_policy, run_name, services
from infra.kubeflow.steps.server_secrets import secret_files, secrets
from tests.infra.kubeflow.scripted import NAMESPACE

RUN_ID: Final = "0F5BD0C3-1f10-4c2d-9d1e-7c0e0d1b9c55"
RUN: Final = run_name(RUN_ID)
_USUAL: Final = RunSettings(
    run=RUN,
    namespace=NAMESPACE,
    task="mnist_cnn",
    clients=2,
    rounds=3,
    epochs=2,
    workers=2,
    min_clients=1,
    deadline=3600,
    cpu_request="500m",
    cpu_limit="1",
    memory_request="1Gi",
    memory_limit="2Gi",
    storage_size="10Gi",
    server_image="fedtier-server:0.1.0",
    nginx_image="docker.io/library/nginx:1.28",
)


def settings(**changed: Any) -> RunSettings:
    """Return a run's settings."""
    return replace(_USUAL, **changed)


def secret_objects(wanted: RunSettings) -> list[Object]:
    """Return a run's Secrets, of files that say what they are."""
    files = {name: name.encode() for name in secret_files()}
    files["s3.json"] = json.dumps({"access_key": "THE-KEY", "secret_key": "the secret"}).encode()
    return secrets(wanted, files)


def all_objects(wanted: RunSettings) -> list[Object]:
    """Return all that a run has, in the order in which it is made."""
    made = [*services(wanted), network_policy(wanted), *secret_objects(wanted)]
    return [*made, *pods.store(wanted, nginx_conf()), *pods.aggregators(wanted)]
