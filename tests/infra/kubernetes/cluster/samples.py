"""Small objects for the tests of the cluster, as kubectl would print them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.infra.kubernetes.cluster.objects import Objects

APPLICATION = Path(__file__).with_name("sample.yaml")


def template(**spec: Any) -> dict[str, Any]:
    """Return a pod's template with one container, and what else its spec is to have."""
    container = {"name": "main", "image": "image"}
    return {
        "metadata": {"labels": {"app": "sample"}},
        "spec": {"automountServiceAccountToken": False, "containers": [container], **spec},
    }


def deployment(name: str = "web", *, replicas: int | None = None, **spec: Any) -> dict[str, Any]:
    """Return a Deployment."""
    return _workload(
        "Deployment",
        name,
        {"replicas": replicas, "selector": {"matchLabels": {"app": "sample"}}, "template": template(**spec)},
    )


def stateful(name: str = "store", **spec: Any) -> dict[str, Any]:
    """Return a StatefulSet with a claim `state`."""
    claims = [{"metadata": {"name": "state"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]
    return _workload(
        "StatefulSet",
        name,
        {
            "selector": {"matchLabels": {"app": "sample"}},
            "template": template(**spec),
            "volumeClaimTemplates": claims,
        },
    )


def job(*, completions: int = 2, parallelism: int = 2, tries: int = 1, rules: Any = (), **spec: Any) -> dict[str, Any]:
    """Return an Indexed Job `job`, each index of which may fail so often."""
    return _workload(
        "Job",
        "job",
        {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": parallelism,
            "backoffLimitPerIndex": tries,
            "podFailurePolicy": {"rules": list(rules)},
            "template": template(restartPolicy="Never", **spec),
        },
    )


def plain_job(name: str = "once", *, retries: int = 1, policy: str = "Never", **spec: Any) -> dict[str, Any]:
    """Return a Job of one pod that is not Indexed."""
    return _workload("Job", name, {"backoffLimit": retries, "template": template(restartPolicy=policy, **spec)})


def claim(name: str = "disk") -> dict[str, Any]:
    """Return a claim."""
    return _workload("PersistentVolumeClaim", name, {"resources": {"requests": {"storage": "1Gi"}}})


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    """Return a Service of all pods."""
    return _workload("Service", name, {"selector": {"app": "sample"}, "ports": [{"port": 80}], **spec})


def settings(**data: str) -> dict[str, Any]:
    """Return a ConfigMap `settings`."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}


def objects(*documents: Mapping[str, Any]) -> Objects:
    """Return documents as the cluster reads them."""
    return Objects.of(documents)


def application() -> list[dict[str, Any]]:
    """Return a whole application: a web server, and a Job."""
    return list(yaml.safe_load_all(APPLICATION.read_text()))


def _workload(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
