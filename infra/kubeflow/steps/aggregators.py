"""Starts a run's aggregators in the cluster, and takes them away again.

Order matters. Services are first, so that certificates can have their names. S3 is next, and gets round 0; then master
and workers, which find it there. Keys that sign are gone before the first server starts: the cluster gets what its
servers need, and the workspace what the tasks to come need.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from client.task import BUILT_IN
from infra.kubeflow.steps import pods
from infra.kubeflow.steps.credentials import hand_out, make_credentials, s3_variables
from infra.kubeflow.steps.namespace import Namespace, connect
from infra.kubeflow.steps.objects import (
    BUCKET,
    MASTER,
    S3,
    WORKER,
    Object,
    RunSettings,
    address_of,
    bucket_key,
    network_policy,
    owned,
    run_name,
    services,
)
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.readiness import Readiness
from infra.kubeflow.steps.removal import remove
from infra.kubeflow.steps.server_secrets import secret_files, secrets
from infra.kubeflow.steps.workspace import Workspace

_MANIFEST: Final = Path(__file__).parents[2] / "kubernetes" / "overlays" / "minikube" / "s3.yaml"
"""Where the text of nginx.conf stands, which this shares with it."""
_POD: Final = "KFP_POD_NAME"
"""Kubeflow Pipelines says by it in which pod a task runs."""


class Addresses(NamedTuple):
    """Where the tasks to come find their servers: ``https://host:port``."""

    server: str
    s3: str


def start(settings: RunSettings, workspace: Workspace) -> Addresses:
    """Start a run's aggregators, and return when they are there for everybody.

    What an earlier try left is removed first.

    Parameters
    ----------
    settings : RunSettings
    workspace : Workspace
        With the initial model; gets what clients and the results' task prove themselves with.

    Raises
    ------
    fedtier.problems.StartupError
        They will not get ready; tells which pod, why, and the end of its log. What there is by then stays, to be
        looked at, until `tear_down`.
    ProgramFailed
        Credentials could not be made, or round 0 not be published.
    """
    namespace = connect()
    _remove(namespace, settings.run, workspace)
    # A run that somebody deletes takes its aggregators with it.
    task = os.environ.get(_POD)
    owner = namespace.owner_of(task) if task else None

    def make(wanted: Sequence[Object]) -> None:
        for one in wanted:
            namespace.create(owned(one, owner))
            print(f"made {one['kind']} {one['metadata']['name']}", flush=True)

    make([*services(settings), network_policy(settings)])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "credentials"
        make_credentials(settings, made)
        make(secrets(settings, {name: (made / name).read_bytes() for name in secret_files()}))
        hand_out(made, workspace, settings.client_ids)
    readiness = Readiness(namespace, settings, workspace.authority)
    make(pods.store(settings, nginx_conf()))
    readiness.wait_for(S3)
    _publish(settings, workspace)
    make(pods.aggregators(settings))
    readiness.wait_for(S3, MASTER, WORKER)
    return Addresses(address_of(WORKER, settings), address_of(S3, settings))


def tear_down(run_id: str, workspace: Workspace) -> list[str]:
    """Remove all that a run has in the cluster, and what is secret in the workspace; return what was removed.

    A half that cannot be removed keeps the other half nowhere. Done again, it finds nothing and is content.

    Parameters
    ----------
    run_id : str
        Of Kubeflow Pipelines.
    workspace : Workspace

    Raises
    ------
    fedtier.problems.StartupError
        Something is still there after minutes, or the cluster does not let it be removed.
    OSError
        The workspace does not let it be removed.
    """
    return _remove(connect(), run_name(run_id), workspace)


def nginx_conf() -> str:
    """Return the configuration of what does TLS before S3."""
    documents = yaml.safe_load_all(_MANIFEST.read_text())
    return next(str(one["data"]["nginx.conf"]) for one in documents if one["kind"] == "ConfigMap")


def _remove(namespace: Namespace, run: str, workspace: Workspace) -> list[str]:
    removed: list[str] = []
    try:
        if workspace.access.exists():
            shutil.rmtree(workspace.access)
            removed.append("tokens and credentials in the workspace")
    finally:
        # A volume that is in trouble keeps nothing in the cluster.
        removed += remove(namespace, run)
        for what in removed:
            print(f"removed {what}", flush=True)
    return removed


def _publish(settings: RunSettings, workspace: Workspace) -> None:
    """Make the workspace's initial model round 0."""
    with tempfile.TemporaryDirectory() as copy:
        run_fedtier(
            *("split", "--no-shards", "--no-picture", "--dataset", BUILT_IN[settings.task].dataset),
            *("--init-model", str(workspace.initial_model), "--saved-dir", copy),
            *("--bucket-name", BUCKET, "--bucket-key", bucket_key(settings.task)),
            variables=s3_variables(workspace, address_of(S3, settings)),
        )
