"""A place where pipelines run: a cluster, its API for the tasks, and who submits and looks at what comes of it."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.seaweed import REGION
from infra.kubeflow.steps.objects import BUCKET, bucket_key
from tests.infra.containers.podman import Podman
from tests.infra.kubeflow.api_server import INSTANCE, Api
from tests.infra.kubeflow.kfp_api import KfpApi, serving
from tests.infra.kubeflow.rights import Rights
from tests.infra.kubeflow.serving import served
from tests.infra.kubeflow.submitted import Submitted
from tests.infra.kubernetes.cluster import Cluster
from tests.infra.programs import CHECKOUT, FEDTIER, environment

NAMESPACE = "kubeflow"
TASK_POD = "federation-task"
WORKFLOW = "uid-workflow"
"""The uid of what owns the pods of tasks."""

_COMPONENT = "app.kubernetes.io/component"
ROLE = CHECKOUT / "infra" / "kubeflow" / "rbac.yaml"


@dataclass
class Seen:
    """What was seen of a run.

    Parameters
    ----------
    run : Submitted
    rounds : int
        That are looked for before its aggregators go.
    """

    run: Submitted
    rounds: int
    status: int | None = None
    """What `submit` ended with."""

    told: str = field(default="", repr=False)
    """What it printed."""

    printed: str = field(default="", repr=False)
    """What all tasks printed."""

    ends: dict[str, list[str]] = field(default_factory=dict)
    """How each task ended, each time it was tried."""

    published: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The manifest of each round."""

    made: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """All objects that were made for it."""

    left: list[str] = field(default_factory=list)
    """Objects, pods, containers and folders that there are afterwards."""

    seconds: float = 0.0

    @property
    def models(self) -> dict[int, str]:
        """The SHA-256 of each round's model."""
        return {number: manifest["model"]["sha256"] for number, manifest in self.published.items()}

    def artifact(self, name: str) -> Path:
        """Return the one artifact of that name."""
        [found] = self.run.outputs.rglob(name)
        return found


class Site:
    """Runs pipelines.

    Parameters
    ----------
    podman : Podman
    cluster : Cluster
    folder : Path
        Where each run has a folder of its own.
    api : Api
    kubeconfig : Path
    """

    def __init__(self, podman: Podman, cluster: Cluster, folder: Path, api: Api, kubeconfig: Path) -> None:
        self.podman = podman
        self.cluster = cluster
        self.api = api
        self._folder = folder
        self._variables = {
            "KFP_POD_NAME": TASK_POD,
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}",
        }

    def run(
        self, flags: Mapping[str, object], *, rounds: int = 0, harm: Callable[[Seen], None] = lambda seen: None
    ) -> Seen:
        """Submit a run with these flags, follow it to its end, and tell what was seen.

        Parameters
        ----------
        flags : Mapping of str to object
            Of `submit`, without their hyphens.
        rounds : int
            That are looked for before its aggregators go.
        harm : callable
            Called with what is seen, while it runs.
        """
        number = len(list(self._folder.glob("run-*")))
        folder = self._folder / f"run-{number}"
        with Submitted(self.podman, folder, self._variables) as run, serving(KfpApi(run)) as host:
            seen = Seen(run, rounds)
            before = len(self.api.made)
            self.api.before_removal = lambda instance: self._look(seen, instance, str(flags["task"]))
            started = time.monotonic()
            words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
            submit = [sys.executable, "-m", "infra.kubeflow.submit", "--host", host, "--every", "0.5", "--json"]
            with _submitting([*submit, *words], folder / "submit.log") as submitting:
                self.cluster.wait_for("run", lambda: run.workspace.exists() or submitting.poll() is not None)
                harm(seen)
                seen.status = submitting.wait()
            if self.api.failed_looks:
                raise self.api.failed_looks[0]
            seen.seconds = round(time.monotonic() - started, 1)
            seen.told = (folder / "submit.log").read_text()
            seen.printed = run.printed()
            seen.ends = run.tasks().ends
            seen.made = self.api.made[before:]
            seen.left = [*self.api.left(), *self._remains(), *map(str, folder.glob("workspace/**"))]
        return seen

    def wait_for(self, seen: Seen, what: str, look: Callable[[], Any]) -> Any:
        """Return what `look` does as soon as there is anything to see; that the run is over before is a failure."""

        def look_while_it_runs() -> Any:
            found = look()
            assert found or not seen.run.is_over, f"the run was over before there was {what}"
            return found

        return self.cluster.wait_for(what, look_while_it_runs)

    def _address(self, component: str, instance: str = "") -> str:
        """Return where the newest Service of a component is."""
        for one in reversed(self.api.made):
            labels = one["metadata"]["labels"]
            if one["kind"] == "Service" and labels[_COMPONENT] == component and instance in {"", labels[INSTANCE]}:
                return f"https://{one['metadata']['name']}.{NAMESPACE}.svc:{one['spec']['ports'][0]['port']}"
        raise AssertionError(f"there is no Service of {component}")

    def _look(self, seen: Seen, instance: str, task: str) -> None:
        """Read the manifests of a run that is about to go, by what its servers were given: tasks have nothing left."""
        given = {
            key: base64.b64decode(value)
            for one in self.api.made
            if one["kind"] == "Secret" and one["metadata"]["labels"][INSTANCE] == instance
            for key, value in one["data"].items()
        }
        credentials = seen.run.description.with_name("s3.json")
        authority = seen.run.description.with_name("ca.pem")
        for path in (credentials, authority):
            path.write_bytes(given[path.name])
        pair = read_s3_credentials(credentials)
        variables = {
            "AWS_ENDPOINT_URL": self._address("s3", instance),
            "AWS_ACCESS_KEY_ID": pair.access_key,
            "AWS_SECRET_ACCESS_KEY": pair.secret_key,
            "AWS_REGION": REGION,
            "AWS_CA_BUNDLE": str(authority),
        }
        where = ["--bucket-name", BUCKET, "--bucket-key", bucket_key(task)]
        for number in range(1, seen.rounds + 1):
            done = subprocess.run(
                self.podman.inside(FEDTIER, "show", str(number), "--json", *where),
                env={**environment(), **variables},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            seen.published[number] = json.loads(done.stdout)["manifest"]

    def _remains(self) -> Iterator[str]:
        """Yield what podman still has, and folders of claims."""
        for container in self.podman.containers():
            yield f"container {container['Names'][0]}"
        for claim in self.cluster.claims():
            yield f"claim {claim}"


@contextlib.contextmanager
def site(podman: Podman, folder: Path) -> Iterator[Site]:
    """Have a place where pipelines run while the block does."""
    kubeconfig = folder / "kubeconfig"
    with Cluster(podman, folder) as cluster:
        api = Api(cluster, Rights.read(ROLE), NAMESPACE)
        api.task_pods[TASK_POD] = _task_pod()
        with served(api, podman, kubeconfig, NAMESPACE):
            yield Site(podman, cluster, folder, api, kubeconfig)


@contextlib.contextmanager
def _submitting(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, env=environment()
        )
    try:
        yield process
    except BaseException as error:
        error.add_note(log.read_text())
        raise
    finally:
        process.terminate()
        process.wait()


def _task_pod() -> dict[str, Any]:
    """Return the pod in which Kubeflow would run all tasks; a run that is deleted is a Workflow that is deleted."""
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "federation", "uid": WORKFLOW}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": TASK_POD, "namespace": NAMESPACE, "ownerReferences": [{**workflow, "controller": True}]},
        "spec": {"containers": [{"name": "main", "image": "fedtier-kubeflow"}]},
        "status": {"phase": "Running"},
    }
