"""What a run came to, read from its S3: every round tested, accuracies, a plot, and the last model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtier.store import RoundStore
from infra.kubeflow.steps.accuracies import accuracy_table, last_accuracies, last_metrics
from infra.kubeflow.steps.credentials import s3_variables
from infra.kubeflow.steps.pages import page, picture
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rounds are.

    Parameters
    ----------
    endpoint : str
        Address of S3.
    bucket, key : str
        Of the newest model's copy.
    """

    endpoint: str
    bucket: str
    key: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags by which a command finds the bucket and the key."""
        return ("--bucket-name", self.bucket, "--bucket-key", self.key)


@dataclass(frozen=True, slots=True)
class Results:
    """What is shown of a run.

    Parameters
    ----------
    last_accuracies : str
        Markdown: each client's accuracy in the last round that it is in, and the model's on the test data.
    accuracy_table : str
        Markdown: a row per round.
    accuracy_plot : str
        HTML with the plot in it.
    metrics : Mapping of str to float
        Of the last round.
    sha256 : str
        Of the last model, in hex.
    round : int
        Which is the last.
    """

    last_accuracies: str
    accuracy_table: str
    accuracy_plot: str
    metrics: Mapping[str, float]
    sha256: str
    round: int


def collect(workspace: Workspace, place: Place, *, task: str, model: Path) -> Results:
    """Test every round, tell of all, and write the last model.

    Parameters
    ----------
    workspace : Workspace
        With the test data, the credentials of S3 and the authority's certificate.
    place : Place
    task : str
        That tests the models.
    model : Path
        Where the last model goes, as safetensors.

    Raises
    ------
    StartupError
        There are no credentials, or S3 cannot be used.
    ProgramFailed
        Nothing is published, or a model cannot be tested; tells why.
    """
    variables = s3_variables(workspace, place.endpoint)
    with tempfile.TemporaryDirectory() as folder:
        table, plot = Path(folder) / "evaluation.csv", Path(folder) / "accuracy.png"
        run_fedtier(
            *("evaluate", *place.flags, "--task", task, "--data", str(workspace.test_shard)),
            *("--csv", str(table), "--no-confusion"),
            variables={**variables, "OMP_NUM_THREADS": "1"},
        )
        facts = run_fedtier("graph", *place.flags, "--out", str(plot), variables=variables, show_facts=False)
        rounds = [fact for fact in facts if fact["event"] == "round"]
        drawn = picture(plot, "Lines: loss and accuracy of every client and of the global model, by round")
    newest = newest_round(workspace, place)
    last, sha256 = newest["round"], newest["manifest"]["model"]["sha256"]
    with _in_environment(variables):
        RoundStore(place.bucket, place.key).download_model(last, sha256, model)
    return Results(
        last_accuracies=last_accuracies(rounds),
        accuracy_table=accuracy_table(rounds),
        accuracy_plot=page(f"{task}: accuracy and loss by round", drawn),
        metrics=last_metrics(rounds),
        sha256=sha256,
        round=last,
    )


def newest_round(workspace: Workspace, place: Place) -> Mapping[str, Any]:
    """Return what is published of the last round: its ``round``, and its ``manifest``.

    Parameters
    ----------
    workspace : Workspace
        With the credentials of S3 and the authority's certificate.
    place : Place

    Raises
    ------
    StartupError
        There are no credentials.
    ProgramFailed
        S3 cannot be used, or nothing is published.
    """
    variables = s3_variables(workspace, place.endpoint)
    [newest] = run_fedtier("show", "last", *place.flags, variables=variables, show_facts=False)
    return newest


@contextmanager
def _in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have this process find S3: whom to believe there is nothing that its client could be told otherwise."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
