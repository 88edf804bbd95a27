"""``python -m infra.kubeflow.pipeline``: writes a whole federation as a pipeline of Kubeflow Pipelines.

The data are prepared, the aggregators started, the clients trained side by side, and the results shown, also of a
training that some clients did not end. Whatever happens, the aggregators go at the end. The SDK reads annotations as
they are, so they are not postponed here.
"""

# ruff: noqa: N803 -- the pipeline's parameters are named as people find them in the form that starts a run.

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from kfp import compiler, dsl, kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_channel import PipelineChannel

from infra.kubeflow import components
from infra.kubeflow.build import Build, build_flags

COMPILED: Final = Path(__file__).with_name("pipeline.yaml")
"""The pipeline as it is shipped."""
_SERVER_IMAGE: Final = "fedtier-server:0.1.0"
_NGINX_IMAGE: Final = "docker.io/library/nginx:1.28"
_TRIES_LAST: Final = "30d"
"""From the start of a task's first try. No try begins after that, and one that runs then is stopped: it is no limit of
the pauses, and has to be longer than any run."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all tasks of a run have, as parameters of the pipeline that they are in.

    Parameters
    ----------
    image : PipelineChannel
    cpu_request, cpu_limit, memory_request, memory_limit : PipelineChannel
    """

    image: PipelineChannel
    cpu_request: PipelineChannel
    cpu_limit: PipelineChannel
    memory_request: PipelineChannel
    memory_limit: PipelineChannel

    def applied(self, task: PipelineTask, title: str, run_as_user: int | None) -> PipelineTask:
        """Return a task that has them, and nothing taken from an earlier run.

        Parameters
        ----------
        task : PipelineTask
        title : str
            What a person reads.
        run_as_user : int or None
        """
        # A task in a loop or an exit handler gets a parameter only if the groups around it hand it on. Of one that is
        # nothing but a resource, the SDK does not tell them.
        task.register_pipeline_channels([self.cpu_request, self.cpu_limit, self.memory_request, self.memory_limit])
        task.set_cpu_request(self.cpu_request).set_cpu_limit(self.cpu_limit)
        task.set_memory_request(self.memory_request).set_memory_limit(self.memory_limit)
        task.set_container_image(self.image).set_caching_options(enable_caching=False).set_display_name(title)
        if run_as_user is not None:
            kubernetes.set_security_context(task, run_as_user=run_as_user)
        return task


def federation(build: Build) -> BaseComponent:
    """Return the pipeline.

    Parameters
    ----------
    build : Build
    """
    user = build.run_as_user
    training = _training(user)

    @dsl.pipeline(
        name="federation",
        display_name="Federation",
        description="A whole federation: data, aggregators, clients, results.",
        pipeline_config=_config(build),
    )
    def whole(
        NUM_OF_CLIENTS: int = 2,
        ROUNDS: int = 3,
        EPOCHS: int = 1,
        TASK: str = "mnist_cnn",
        DATA_URLS: list[str] = [],  # noqa: B006 -- read by the SDK, and never changed
        SEED: int = 0,
        WORKERS: int = 2,
        MIN_CLIENTS: int = 1,
        DEADLINE: int = 3600,
        CPU_REQUEST: str = "500m",
        CPU_LIMIT: str = "1",
        MEMORY_REQUEST: str = "1Gi",
        MEMORY_LIMIT: str = "2Gi",
        STORAGE_SIZE: str = "10Gi",
        IMAGE: str = build.image,
        SERVER_IMAGE: str = _SERVER_IMAGE,
        NGINX_IMAGE: str = _NGINX_IMAGE,
    ) -> None:
        """Train a model among clients, and show what came of it.

        Args:
            NUM_OF_CLIENTS: Clients, each a task of its own; all take part in every round.
            ROUNDS: Rounds, after which the federation is finished.
            EPOCHS: Epochs that a client trains in a round.
            TASK: What is trained: mnist_cnn, mnist_2nn, mnist_cnn_large or tabular_cnn.
            DATA_URLS: CSV files of tabular_cnn, one per class in order, or mirrors of MNIST. None takes generated
                samples, or the public mirrors.
            SEED: Of the split, of the initial model and of the training.
            WORKERS: Worker aggregators.
            MIN_CLIENTS: Clients that are enough for a round at its deadline.
            DEADLINE: Seconds that a round waits for all clients.
            CPU_REQUEST: CPU that each task and each aggregator is given.
            CPU_LIMIT: CPU that each may use.
            MEMORY_REQUEST: Memory that each task and each aggregator is given.
            MEMORY_LIMIT: Memory that each may use.
            STORAGE_SIZE: Size of the volumes of S3 and of the master.
            IMAGE: Image of the tasks.
            SERVER_IMAGE: Image of the aggregators and of S3.
            NGINX_IMAGE: Image of what does TLS for S3.
        """
        workspace, run_id = dsl.WORKSPACE_PATH_PLACEHOLDER, dsl.PIPELINE_JOB_ID_PLACEHOLDER
        setting = Setting(IMAGE, CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT)
        removed = setting.applied(components.tear_down(run_id=run_id, workspace=workspace), "Tear down", user)
        _tried_again(removed, times=3, first_pause="10s")
        with dsl.ExitHandler(removed, name="Run"):
            prepared = components.prepare_data(
                workspace=workspace, task=TASK, clients=NUM_OF_CLIENTS, urls=DATA_URLS, seed=SEED
            )
            setting.applied(prepared, "Prepare data", user)
            started = components.start_aggregators(
                workspace=workspace,
                run_id=run_id,
                task=TASK,
                clients=NUM_OF_CLIENTS,
                rounds=ROUNDS,
                epochs=EPOCHS,
                workers=WORKERS,
                min_clients=MIN_CLIENTS,
                deadline=DEADLINE,
                server_cpu_request=CPU_REQUEST,
                server_cpu_limit=CPU_LIMIT,
                server_memory_request=MEMORY_REQUEST,
                server_memory_limit=MEMORY_LIMIT,
                storage_size=STORAGE_SIZE,
                server_image=SERVER_IMAGE,
                nginx_image=NGINX_IMAGE,
            )
            setting.applied(started, "Start aggregators", user).after(prepared)
            trained = training(
                workspace=workspace,
                clients=prepared.outputs["Output"],
                server=started.outputs["server"],
                s3=started.outputs["s3"],
                task=TASK,
                seed=SEED,
                image=IMAGE,
                cpu_request=CPU_REQUEST,
                cpu_limit=CPU_LIMIT,
                memory_request=MEMORY_REQUEST,
                memory_limit=MEMORY_LIMIT,
            )
            trained.set_caching_options(enable_caching=False).set_display_name("Train")

    compiled: BaseComponent = whole
    return compiled


def _config(build: Build) -> dsl.PipelineConfig:
    """Return the volume that tasks share, as the SDK takes it."""
    patch: dict[str, Any] = {"accessModes": [build.access_mode]}
    if build.storage_class is not None:
        patch["storageClassName"] = build.storage_class
    volume = dsl.WorkspaceConfig(build.workspace_size, dsl.KubernetesWorkspaceConfig(pvcSpecPatch=patch))
    return dsl.PipelineConfig(workspace=volume)


def _training(user: int | None) -> Callable[..., PipelineTask]:
    """Return the part with the loop: in a pipeline of its own, since a loop does not see what other tasks returned."""

    @dsl.pipeline(name="training", description="Clients side by side, and what they came to.")
    def training(
        workspace: str,
        clients: list[str],
        server: str,
        s3: str,
        task: str,
        seed: int,
        image: str,
        cpu_request: str,
        cpu_limit: str,
        memory_request: str,
        memory_limit: str,
    ) -> None:
        setting = Setting(image, cpu_request, cpu_limit, memory_request, memory_limit)
        shown = components.show_results(workspace=workspace, s3=s3, task=task)
        setting.applied(shown, "Show results", user)
        _tried_again(shown, times=2, first_pause="5s")
        # A task after the loop would not run once one client is lost for good, and nobody would see what the others
        # came to.
        with dsl.ExitHandler(shown, name="All clients"), dsl.ParallelFor(clients, name="Each client") as client_id:
            trained = components.train_client(
                workspace=workspace, client_id=client_id, server=server, s3=s3, task=task, seed=seed
            )
            setting.applied(trained, "Train a client", user)
            _tried_again(trained, times=3, first_pause="2s")

    made: Callable[..., PipelineTask] = training
    return made


def _tried_again(task: PipelineTask, *, times: int, first_pause: str) -> None:
    """Have a task that failed be tried again, after pauses of which each is twice the one before."""
    task.set_retry(times, backoff_duration=first_pause, backoff_factor=2, backoff_max_duration=_TRIES_LAST)


def write_pipeline(path: Path, build: Build) -> None:
    """Compile the pipeline into a file.

    Parameters
    ----------
    path : Path
        Ends with ``.yaml``.
    build : Build
    """
    compiler.Compiler().compile(federation(build), str(path))


@click.command()
@click.option("--image", help=f"What tasks run in. [default: {Build().image}]")
@build_flags
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=COMPILED, help="Where it goes.")
def main(out: Path, **flags: Any) -> None:
    """Write the compiled pipeline."""
    write_pipeline(out, Build.of(flags))
    click.echo(f"written to {out}")


if __name__ == "__main__":
    main()
