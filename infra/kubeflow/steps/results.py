"""What a run came to, read from its S3: every round tested, accuracies, a plot, and the last model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedtier.store import RoundStore
from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.metrics import shown_metric
from fedtier_cli.seaweed import REGION
from infra.kubeflow.steps.pages import page, picture
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.workspace import Workspace

_ALL_SHOWN: Final = 10
"""Up to so many clients have a column each."""
Fact = Mapping[str, Any]


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


def collect(
    workspace: Workspace,
    place: Place,
    *,
    task: str,
    model: Path,
    environment: MutableMapping[str, str] = os.environ,
) -> Results:
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
    environment : MutableMapping of str to str
        Gets the AWS variables by which S3 is found.

    Raises
    ------
    StartupError
        There are no credentials, or S3 cannot be used.
    ProgramFailed
        Nothing is published, or a model cannot be tested; tells why.
    """
    environment.update(_aws_variables(workspace, place))
    where = ("--bucket-name", place.bucket, "--bucket-key", place.key)
    with tempfile.TemporaryDirectory() as folder:
        table, plot = Path(folder) / "evaluation.csv", Path(folder) / "accuracy.svg"
        run_fedtier(
            *("evaluate", *where, "--task", task, "--data", str(workspace.test_shard)),
            *("--csv", str(table), "--no-confusion"),
            variables={"OMP_NUM_THREADS": "1"},
        )
        facts = run_fedtier("graph", *where, "--out", str(plot), variables={})
        rounds = [fact for fact in facts if fact["event"] == "round"]
        drawn = picture(plot, "Lines: loss and accuracy of every client and of the global model, by round")
    [newest] = run_fedtier("show", "last", *where, variables={})
    last, sha256 = newest["round"], newest["manifest"]["model"]["sha256"]
    RoundStore(place.bucket, place.key).download_model(last, sha256, model)
    return Results(
        last_accuracies=_last_accuracies(rounds),
        accuracy_table=_accuracy_table(rounds),
        accuracy_plot=page(f"{task}: accuracy and loss by round", drawn),
        metrics=_metrics(rounds),
        sha256=sha256,
        round=last,
    )


def _aws_variables(workspace: Workspace, place: Place) -> dict[str, str]:
    credentials = read_s3_credentials(workspace.s3_credentials)
    return {
        "AWS_ENDPOINT_URL_S3": place.endpoint,
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_REGION": REGION,
        "AWS_CA_BUNDLE": str(workspace.authority),
    }


def _last_accuracies(rounds: Sequence[Fact]) -> str:
    found: dict[str, tuple[int, float]] = {}
    for fact in rounds:
        found |= {client: (fact["round"], value) for client, value in fact["accuracy"]["devices"].items()}
    lines = [
        f"- {client}: {shown_metric('accuracy', value)} in its training, in round {number}"
        for client, (number, value) in sorted(found.items(), key=lambda item: _in_order(item[0]))
    ]
    if (test := rounds[-1]["accuracy"]["test"]) is not None:
        lines.append(
            f"- **the model of round {rounds[-1]['round']}: {shown_metric('accuracy', test)} on the test data**"
        )
    return "# Last accuracies\n\n" + "\n".join(lines or ["No client reported an accuracy."]) + "\n"


def _accuracy_table(rounds: Sequence[Fact]) -> str:
    clients = sorted({client for fact in rounds for client in fact["accuracy"]["devices"]}, key=_in_order)
    shown = clients if len(clients) <= _ALL_SHOWN else []
    head = ["round", "clients", "examples", *shown, "clients' mean", "test accuracy", "test loss", "seconds"]
    rows = [[_cell(one) for one in _row(fact, shown)] for fact in rounds]
    lines = [head, ["---:"] * len(head), *rows]
    return "# Accuracy by round\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _row(fact: Fact, clients: Sequence[str]) -> list[str]:
    accuracy, seconds = fact["accuracy"], fact["seconds"]
    return [
        *(str(fact[name]) for name in ("round", "clients", "examples")),
        *(shown_metric("accuracy", accuracy["devices"].get(client)) for client in clients),
        *(shown_metric("accuracy", accuracy[name]) for name in ("mean", "test")),
        shown_metric("loss", fact["loss"]["test"]),
        "" if seconds is None else f"{seconds:.1f}",
    ]


def _cell(text: str) -> str:
    return text or "·"


def _metrics(rounds: Sequence[Fact]) -> dict[str, float]:
    last = rounds[-1]
    found = {name: last[name]["test"] for name in ("accuracy", "loss")}
    clients = {client for fact in rounds for client in fact["accuracy"]["devices"]}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "rounds": float(last["round"]),
        "clients": float(len(clients)),
        "clients_in_last_round": float(last["clients"]),
    }


def _in_order(client: str) -> tuple[str, int]:
    """Return by what client-2 comes before client-10."""
    name, _, number = client.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (client, 0)
