"""Starts a run's aggregators in the cluster, and takes them away again.

Order matters. Services are first, so that certificates can have their names. S3 is next, and gets round 0; then master
and workers, which find it there. Keys that sign are made in a folder that is gone when this is over: the cluster gets
what its servers need, and the workspace what the tasks to come need.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.key_files import write_secret
from infra.kubeflow.steps import objects, pods
from infra.kubeflow.steps.namespace import Namespace, connect
from infra.kubeflow.steps.objects import MASTER, S3, WORKER, Object, RunSettings, address_of, run_name
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.readiness import Readiness
from infra.kubeflow.steps.workspace import Workspace

_MANIFEST: Final = Path(__file__).parents[2] / "kubernetes" / "overlays" / "minikube" / "s3.yaml"
"""Where the text of nginx.conf stands, which this shares with it."""
_POD: Final = "KFP_POD_NAME"
"""Kubeflow Pipelines says by it in which pod a task runs."""
_DELETED: Final = ("Deployment", "Job", "Pod", "Service", "ConfigMap", "PersistentVolumeClaim")
"""Kinds that are found by their label. Pods are gone when what made them is; they are looked for, not deleted."""
_GONE_SECONDS: Final = 300.0
"""More than the seconds that a pod may take to end."""
_LOOK_AGAIN: Final = 1.0


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
    StartupError
        They will not get ready; tells which pod, why, and the end of its log. What there is by then stays, to be
        looked at, until `tear_down`.
    ProgramFailed
        Credentials could not be made, or round 0 not be published.
    """
    namespace = connect()
    _remove(namespace, settings.run, workspace)
    owner = _owner(namespace)

    def make(wanted: Sequence[Object]) -> None:
        for one in wanted:
            namespace.create(objects.owned(one, owner))
            print(f"made {one['kind']} {one['metadata']['name']}", flush=True)

    make(objects.services(settings))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "credentials"
        _make_credentials(settings, made)
        make(objects.secrets(settings, {name: (made / name).read_bytes() for name in objects.secret_files()}))
        _hand_out(made, workspace, _client_ids(settings))
    readiness = Readiness(namespace, settings, workspace.authority)
    make(pods.store(settings, _nginx_conf()))
    readiness.wait_for(S3)
    _publish(settings, workspace)
    make(pods.aggregators(settings))
    readiness.wait_for(S3, MASTER, WORKER)
    return Addresses(address_of(WORKER, settings), address_of(S3, settings))


def tear_down(run_id: str, workspace: Workspace) -> list[str]:
    """Remove all that a run has in the cluster, and what is secret in the workspace; return what was removed.

    Done again, it finds nothing and is content.

    Parameters
    ----------
    run_id : str
        Of Kubeflow Pipelines.
    workspace : Workspace

    Raises
    ------
    StartupError
        Something is still there after minutes, or the cluster does not let it be removed.
    """
    return _remove(connect(), run_name(run_id), workspace)


def _remove(namespace: Namespace, run: str, workspace: Workspace) -> list[str]:
    removed: list[str] = []

    def tell(what: str) -> None:
        removed.append(what)
        print(f"removed {what}", flush=True)

    if workspace.access.exists():
        shutil.rmtree(workspace.access)
        tell("tokens and credentials from the workspace")
    for name in objects.secret_names(run):
        if namespace.delete("Secret", name):
            tell(f"Secret {name}")
    asked: set[tuple[str, str]] = set()
    deadline = time.monotonic() + _GONE_SECONDS
    while left := _left(namespace, run):
        for kind, name in sorted(left - asked):
            if kind != "Pod":
                namespace.delete(kind, name)
        asked |= left
        if time.monotonic() > deadline:
            names = ", ".join(f"{kind} {name}" for kind, name in sorted(left))
            raise StartupError(f"still there {_GONE_SECONDS:g} s after it was deleted: {names}")
        time.sleep(_LOOK_AGAIN)
    for kind, name in sorted(asked):
        tell(f"{kind} {name}")
    return removed


def _left(namespace: Namespace, run: str) -> set[tuple[str, str]]:
    return {(kind, one["metadata"]["name"]) for kind in _DELETED for one in namespace.listed(kind, run)}


def _owner(namespace: Namespace) -> Object | None:
    """Return what owns the pod of this task: a run that is deleted takes its aggregators with it."""
    name = os.environ.get(_POD)
    pod = namespace.pod(name) if name else None
    owners: list[Object] = [] if pod is None else pod["metadata"].get("ownerReferences") or []
    return owners[0] if owners else None


def _client_ids(settings: RunSettings) -> list[str]:
    return [f"client-{number}" for number in range(settings.clients)]


def _make_credentials(settings: RunSettings, folder: Path) -> None:
    """Make keys, authority, certificates and tokens, of this run alone: its name is their federation's."""
    words = ["credentials", str(folder), "--federation", settings.run, "--worker", WORKER]
    for component in objects.PORTS:
        words += ["--server", f"{component}={','.join(objects.server_names(component, settings))}"]
    for client_id in _client_ids(settings):
        words += ["--client", client_id]
    run_fedtier(*words, variables={})


def _hand_out(made: Path, workspace: Workspace, client_ids: Sequence[str]) -> None:
    """Write what later tasks need into the workspace: nothing that signs, and no server's key."""
    tokens = {workspace.client_token(client_id): f"client-{client_id}.token" for client_id in client_ids}
    wanted: Mapping[Path, Path] = {
        workspace.authority: made / "authority" / "ca.pem",
        workspace.s3_credentials: made / "s3.json",
        workspace.operator_token: made / "tokens" / "operator.token",
        **{path: made / "tokens" / name for path, name in tokens.items()},
    }
    for path in wanted:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, source in wanted.items():
        write_secret(path, source.read_text())


def _publish(settings: RunSettings, workspace: Workspace) -> None:
    """Make the workspace's initial model round 0."""
    pair = read_s3_credentials(workspace.s3_credentials)
    variables = {
        "AWS_ENDPOINT_URL_S3": address_of(S3, settings),
        "AWS_REGION": objects.REGION,
        "AWS_ACCESS_KEY_ID": pair.access_key,
        "AWS_SECRET_ACCESS_KEY": pair.secret_key,
        "AWS_CA_BUNDLE": str(workspace.authority),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with tempfile.TemporaryDirectory() as copy:
        run_fedtier(
            *("split", "--no-shards", "--no-picture", "--dataset", BUILT_IN[settings.task].dataset),
            *("--init-model", str(workspace.initial_model), "--saved-dir", copy),
            *("--bucket-name", objects.BUCKET, "--bucket-key", objects.bucket_key(settings.task)),
            variables=variables,
        )


def _nginx_conf() -> str:
    documents = yaml.safe_load_all(_MANIFEST.read_text())
    return next(str(one["data"]["nginx.conf"]) for one in documents if one["kind"] == "ConfigMap")
