"""``python -m infra.kubeflow.submit --host URL``: have a federation run as a pipeline, and follow it to its end."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import yaml

from fedtier.certificates import read_certificate
from fedtier.flags import FiniteRange, command, json_flag, require_address
from fedtier_cli.interruption import Interrupted, signals_raised
from fedtier_cli.screen import screen
from infra.kubeflow.build import Build, build_flags
from infra.kubeflow.parameters import arguments_of, parameter_flags, parameters_of
from infra.kubeflow.progress import SUCCEEDED, Progress, Run, titles_of
from infra.kubeflow.service import Away, Order, Place, Service
from infra.kubeflow.telling import Facts, Lines, Teller

Documents = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A compiled pipeline: its specification, and what only Kubernetes knows of it."""

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_FAILED: Final = "FAILED"


def read_pipeline(path: Path) -> Documents:
    """Return a compiled pipeline."""
    pipeline, platform, *_ = (*yaml.safe_load_all(path.read_text(encoding="utf-8")), {})
    return pipeline, platform


_COMPILED: Final = read_pipeline(Path(__file__).with_name("pipeline.yaml"))
_PARAMETERS: Final = parameters_of(_COMPILED[0])


@command("submit")
@click.option(
    "--host",
    required=True,
    metavar="URL",
    envvar="FEDTIER_KUBEFLOW_HOST",
    help="Address of Kubeflow Pipelines, below which its pages and /apis/v2beta1 are.",
)
@click.option("--plain-http", is_flag=True, help="Let HTTP without TLS leave this machine.")
@click.option("--ca-certs", type=_PATH, help="PEM file of the authorities that the host's certificate is signed by.")
@click.option(
    "--token-file",
    type=_PATH,
    envvar="FEDTIER_KUBEFLOW_TOKEN_FILE",
    help="File with the token that says who asks; read anew for each request.",
)
@click.option("--namespace", help="Of your runs, where Kubeflow has many users.")
@click.option("--experiment", default="fedtier", help="Among whose runs it is shown; made unless it is there.")
@click.option("--run-name", help="[default: the task, and the time]")
@click.option("--service-account", help="Of the run's pods. [default: Kubeflow's choice]")
@parameter_flags(_PARAMETERS)
@build_flags
@click.option("--no-follow", is_flag=True, help="End when the run is submitted.")
@click.option(
    "--every", type=FiniteRange(min=0.05, max=3600), default=5.0, metavar="S", help="Seconds from one look to the next."
)
@json_flag
def submit(**flags: Any) -> None:
    """Have a federation run as a pipeline of Kubeflow, and follow it to its end.

    Prints the address of the run's page, each task that begins or ends, and of tasks that failed what Kubeflow says.
    A service that is away is asked again. Ctrl-C ends the following; the run goes on.

    Ends with status 0 when the run and each of its tasks succeeded, or with --no-follow is submitted, 1 when not, 2 for
    wrong flags, 130 by Ctrl-C.
    """
    require_address(flags["host"], "--host", plain_http=flags["plain_http"])
    if flags["ca_certs"] is not None:
        read_certificate(flags["ca_certs"], "--ca-certs")
    place = Place(
        host=flags["host"].rstrip("/"),
        namespace=flags["namespace"],
        token_file=flags["token_file"],
        ca_certs=flags["ca_certs"],
    )
    given = arguments_of(flags, _PARAMETERS)
    pipeline, platform = _documents(flags)
    order = Order(
        pipeline=pipeline,
        platform=platform,
        arguments=given,
        name=flags["run_name"]
        or f"{given.get('TASK', _PARAMETERS['TASK']['defaultValue'])} {datetime.now():%Y-%m-%d %H:%M:%S}",
        experiment=flags["experiment"],
        service_account=flags["service_account"],
    )
    teller: Teller = Facts() if flags["as_json"] else Lines(screen())
    service = Service(place)
    run_id = service.submit(order)
    teller.submitted(run_id, place.page(run_id), given)
    if flags["no_follow"]:
        return
    with _left_running(place.page(run_id)):
        good = follow(service, run_id, Progress(titles_of(pipeline)), teller, every=flags["every"])
    sys.exit(0 if good else 1)


def follow(service: Service, run_id: str, progress: Progress, teller: Teller, *, every: float) -> bool:
    """Tell of a run until it has ended, and return whether all of it succeeded.

    Parameters
    ----------
    service : Service
    run_id : str
    progress : Progress
    teller : Teller
    every : float
        Seconds from one look to the next.

    Raises
    ------
    StartupError
        The service refuses.
    """
    reason = ""
    while True:
        try:
            run = service.look(run_id)
        except Away as error:
            if str(error) != reason:
                teller.away(str(error))
            reason = str(error)
        else:
            reason = ""
            for change in progress.see(run):
                teller.changed(change)
            if run.ended:
                return _told_the_end(run, progress, teller)
        threading.Event().wait(every)


def _told_the_end(run: Run, progress: Progress, teller: Teller) -> bool:
    failures = progress.failures(run)
    for failure in failures:
        teller.failed(failure)
    # That what runs at the end of all failed is not told by a run's own state.
    state = _FAILED if failures and run.state == SUCCEEDED else str(run.state)
    teller.ended(state, run.error)
    return state == SUCCEEDED


def _documents(flags: Mapping[str, Any]) -> Documents:
    """Return the pipeline as it lies here, or compiled anew with what is fixed when it is compiled."""
    build = Build.of(flags)
    if build == Build():
        return _COMPILED
    # The compiler takes a second, and most runs do without.
    from infra.kubeflow.pipeline import write_pipeline  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        write_pipeline(path, build)
        return read_pipeline(path)


@contextmanager
def _left_running(page: str) -> Iterator[None]:
    """Say, where a signal ends the following, that the run goes on."""
    try:
        with signals_raised():
            yield
    except Interrupted as interrupted:
        click.echo(
            f"the following was ended by {interrupted}; the run goes on. To stop it, terminate it at {page}, and "
            "delete it there: what it started in the cluster goes with it",
            err=True,
        )
        sys.exit(interrupted.status)


if __name__ == "__main__":
    submit(prog_name="python -m infra.kubeflow.submit")
