"""What one run is to have in the cluster, what that is called, and its simplest objects. Pure.

In: the settings of a run. Out: dictionaries, as the API of Kubernetes takes them. Every one has the run's name in its
own, and the labels of `labels`, by which it is found when the run is over. Workloads are in `pods`, what their
programs prove themselves with in `server_secrets`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier.rounds import ClientSettings

Object = dict[str, Any]
"""An object of Kubernetes, as its API has it in JSON."""

S3: Final = "s3"
MASTER: Final = "master-aggregator"
WORKER: Final = "worker-aggregator"
PORTS: Final[Mapping[str, int]] = {S3: 8333, MASTER: 5000, WORKER: 5001}
"""Components, and where their pods and Services listen."""
BUCKET: Final = "fedtier"
INSTANCE: Final = "app.kubernetes.io/instance"
"""The label that holds the run's name."""

_PREFIX: Final = "fedtier-"
_ID_LENGTH: Final = 12
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run's aggregators are to be.

    Parameters
    ----------
    run : str
        From `run_name`.
    namespace : str
        Where the run's pods are.
    task : str
        In `client.task.BUILT_IN`.
    clients, rounds, epochs : int
        Clients are ``client-0`` to ``client-<clients - 1>``; epochs are those of a client in a round.
    workers : int
        Pods of worker aggregators.
    min_clients : int
        Clients that are enough for a round at its deadline.
    deadline : int
        Seconds that a round stays open.
    cpu_request, cpu_limit, memory_request, memory_limit : str
        Quantities; of every container that runs a program of fedtier.
    storage_size : str
        Quantity; of S3's volume, and of the master's.
    server_image, nginx_image : str

    Raises
    ------
    StartupError
        Something is no such value.
    """

    run: str
    namespace: str
    task: str
    clients: int
    rounds: int
    epochs: int
    workers: int
    min_clients: int
    deadline: int
    cpu_request: str
    cpu_limit: str
    memory_request: str
    memory_limit: str
    storage_size: str
    server_image: str
    nginx_image: str

    def __post_init__(self) -> None:
        if self.task not in BUILT_IN:
            raise StartupError(f"TASK is {self.task!r}, wanted one of {', '.join(BUILT_IN)}")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise StartupError(f"{self.namespace!r} is no name of a namespace")
        numbers = {
            "NUM_OF_CLIENTS": self.clients,
            "ROUNDS": self.rounds,
            "EPOCHS": self.epochs,
            "WORKERS": self.workers,
            "MIN_CLIENTS": self.min_clients,
            "DEADLINE": self.deadline,
        }
        for name, number in numbers.items():
            if number < 1:
                raise StartupError(f"{name} is {number}, wanted 1 or more")
        if self.min_clients > self.clients:
            raise StartupError(f"MIN_CLIENTS is {self.min_clients}, more than NUM_OF_CLIENTS, {self.clients}")

    @property
    def client_ids(self) -> list[str]:
        """The clients, in order."""
        return [f"client-{number}" for number in range(self.clients)]

    @property
    def training(self) -> ClientSettings:
        """How the task is trained where nobody says otherwise, with this run's epochs."""
        return BUILT_IN[self.task].settings.model_copy(update={"epochs": self.epochs})


def run_name(run_id: str) -> str:
    """Return what a run's objects are named after: a DNS label of at most 20 characters.

    Parameters
    ----------
    run_id : str
        Of Kubeflow Pipelines: a UUID there, and anything in a local run.
    """
    plain = re.sub(r"[^a-z0-9]", "", run_id.lower())
    if len(plain) < _ID_LENGTH:  # two short ids that differ in other characters are two runs
        plain += hashlib.sha256(run_id.encode()).hexdigest()
    return _PREFIX + plain[:_ID_LENGTH]


def bucket_key(task: str) -> str:
    """Return the key of the newest model in S3; without its extension, the prefix of all that a run keeps there."""
    return f"jobs/{task}.safetensors"


def name_of(component: str, run: str) -> str:
    """Return the name of a component's Service and workload."""
    return f"{run}-{component}"


def host_of(component: str, settings: RunSettings) -> str:
    """Return the name by which a component is found from everywhere in the cluster."""
    return f"{name_of(component, settings.run)}.{settings.namespace}.svc"


def address_of(component: str, settings: RunSettings) -> str:
    """Return a component's address: ``https://host:port``."""
    return f"https://{host_of(component, settings)}:{PORTS[component]}"


def server_names(component: str, settings: RunSettings) -> list[str]:
    """Return all names that a component's certificate has to have."""
    name, host = name_of(component, settings.run), host_of(component, settings)
    return [name, f"{name}.{settings.namespace}", host, f"{host}.cluster.local"]


def labels(run: str, component: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a component; all of a run's have its name as `INSTANCE`."""
    return {
        "app.kubernetes.io/name": "fedtier",
        "app.kubernetes.io/part-of": "fedtier",
        "app.kubernetes.io/component": component,
        INSTANCE: run,
    }


def metadata(settings: RunSettings, component: str, name: str) -> Object:
    """Return what an object of a component is called."""
    return {"name": name, "namespace": settings.namespace, "labels": labels(settings.run, component)}


def owned(one: Object, owner: Object | None) -> Object:
    """Return an object that is deleted with its owner.

    Parameters
    ----------
    one : Object
    owner : Object or None
        An owner reference, as a pod of the run has one; None leaves the object to `tear_down` alone.
    """
    if owner is None:
        return one
    # Not as its controller, and not so that the owner's end waits for it: that would need further rights.
    reference = {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}
    return one | {"metadata": one["metadata"] | {"ownerReferences": [reference]}}


def services(settings: RunSettings) -> list[Object]:
    """Return the Services, which are made before all else: who listens has certificates with their names."""
    return [_service(settings, component) for component in PORTS]


def _service(settings: RunSettings, component: str) -> Object:
    spec: Object = {
        "type": "ClusterIP",
        "selector": labels(settings.run, component),
        "ports": [{"name": "https", "port": PORTS[component], "targetPort": "https"}],
    }
    if component == MASTER:
        # There is no other one to send to. While S3 is away it is not ready, and counts all the same.
        spec["publishNotReadyAddresses"] = True
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, component, name_of(component, settings.run)),
        "spec": spec,
    }


def network_policy(settings: RunSettings) -> Object:
    """Return who may talk to a run's servers: the pods of its namespace, of which only some have tokens.

    Tasks are among them, and have no label of which every version of Kubeflow Pipelines could be believed that it is
    there.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, "federation", settings.run),
        "spec": {
            "podSelector": {"matchLabels": {INSTANCE: settings.run}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "https"}]}],
        },
    }


def claim(settings: RunSettings, component: str) -> Object:
    """Return the claim of a component's volume, of the cluster's own class."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(settings, component, name_of(component, settings.run)),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": settings.storage_size}},
        },
    }


def nginx_configuration(settings: RunSettings, text: str) -> Object:
    """Return the ConfigMap of what does TLS before S3, with the text of its ``nginx.conf``."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, S3, f"{settings.run}-s3-tls"),
        "data": {"nginx.conf": text},
    }
