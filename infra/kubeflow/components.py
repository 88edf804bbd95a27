"""The tasks of the pipeline as Kubeflow sees them: inputs, outputs, and one call of what does the work.

Each body is shipped as text and runs in the pipeline's image, which brings all that it imports; nothing is installed
when it runs. The SDK reads annotations as they are, so they are not postponed.
"""

# ruff: noqa: PLC0415 -- a body is shipped alone, and imports for itself.

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Markdown, Metrics, Model, Output

from infra.kubeflow.build import IMAGE

_component = dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)


@_component
def prepare_data(
    workspace: str, task: str, clients: int, urls: list[str], seed: int, label_distribution: Output[HTML]
) -> list[str]:
    """Split the data among the clients, make the initial model, and return the clients' ids."""
    from pathlib import Path

    from infra.kubeflow.steps.data import prepare
    from infra.kubeflow.steps.workspace import Workspace

    shards = prepare(Workspace(Path(workspace)), task=task, clients=clients, urls=urls, seed=seed)
    Path(label_distribution.path).write_text(shards.page, encoding="utf-8")
    return list(shards.clients)


@_component
def start_aggregators(
    workspace: str,
    run_id: str,
    task: str,
    clients: int,
    rounds: int,
    epochs: int,
    workers: int,
    min_clients: int,
    deadline: int,
    server_cpu_request: str,
    server_cpu_limit: str,
    server_memory_request: str,
    server_memory_limit: str,
    storage_size: str,
    server_image: str,
    nginx_image: str,
) -> NamedTuple("Addresses", server=str, s3=str):  # type: ignore[valid-type]  # the SDK reads it; a name would not be shipped
    """Start S3, master and workers in the cluster, wait until they are ready, and return where they are."""
    from pathlib import Path

    from infra.kubeflow.steps.aggregators import start
    from infra.kubeflow.steps.namespace import connect
    from infra.kubeflow.steps.objects import RunSettings, run_name
    from infra.kubeflow.steps.workspace import Workspace

    settings = RunSettings(
        run=run_name(run_id),
        namespace=connect().name,
        task=task,
        clients=clients,
        rounds=rounds,
        epochs=epochs,
        workers=workers,
        min_clients=min_clients,
        deadline=deadline,
        cpu_request=server_cpu_request,
        cpu_limit=server_cpu_limit,
        memory_request=server_memory_request,
        memory_limit=server_memory_limit,
        storage_size=storage_size,
        server_image=server_image,
        nginx_image=nginx_image,
    )
    return start(settings, Workspace(Path(workspace)))


@_component
def train_client(workspace: str, client_id: str, server: str, s3: str, task: str, seed: int) -> int:
    """Train as one client until the federation is finished, and return in how many rounds this try was counted."""
    from pathlib import Path

    from infra.kubeflow.steps.objects import BUCKET, bucket_key
    from infra.kubeflow.steps.results import Place
    from infra.kubeflow.steps.training import train
    from infra.kubeflow.steps.workspace import Workspace

    place = Place(s3, BUCKET, bucket_key(task))
    return train(Workspace(Path(workspace)), client_id=client_id, server=server, place=place, task=task, seed=seed)


@_component
def show_results(
    workspace: str,
    s3: str,
    task: str,
    last_accuracies: Output[Markdown],
    accuracy_table: Output[Markdown],
    accuracy_plot: Output[HTML],
    metrics: Output[Metrics],
    model: Output[Model],
) -> str:
    """Test every round, show accuracies and the last model, and return the SHA-256 of its bytes."""
    from pathlib import Path

    from infra.kubeflow.steps.objects import BUCKET, bucket_key
    from infra.kubeflow.steps.results import Place, collect
    from infra.kubeflow.steps.workspace import Workspace

    place = Place(s3, BUCKET, bucket_key(task))
    results = collect(Workspace(Path(workspace)), place, task=task, model=Path(model.path))
    Path(last_accuracies.path).write_text(results.last_accuracies, encoding="utf-8")
    Path(accuracy_table.path).write_text(results.accuracy_table, encoding="utf-8")
    Path(accuracy_plot.path).write_text(results.accuracy_plot, encoding="utf-8")
    for name, value in results.metrics.items():
        metrics.log_metric(name, value)
    model.metadata.update(sha256=results.sha256, round=results.round, task=task, format="safetensors")
    return results.sha256


@_component
def tear_down(run_id: str, workspace: str) -> list[str]:
    """Remove all that the run has in the cluster, and return what was removed."""
    from pathlib import Path

    from infra.kubeflow.steps.aggregators import tear_down as remove
    from infra.kubeflow.steps.workspace import Workspace

    return remove(run_id, Workspace(Path(workspace)))
