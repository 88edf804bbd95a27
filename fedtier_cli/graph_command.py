"""``fedtier graph``: draw loss and accuracy of every device and of the global model, straight from S3."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fedtier.flags import command, json_flag
from fedtier_cli.graphs.outliers import outliers
from fedtier_cli.history import read_history
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.metrics import METRICS
from fedtier_cli.pictures import picture_file, require_drawable
from fedtier_cli.processes import as_json_line
from fedtier_cli.published import Place, Published, maxlen_flag, opened, place_flags
from fedtier_cli.series import HIGH, LOW, FederationHistory, federation_history

_PICTURE: Final = "loss-accuracy.png"
_FLAG: Final = "--out"


@command("graph")
@click.option("--show-loss", is_flag=True, help="Draw the loss; both it and the accuracy by default.")
@click.option("--show-acc", is_flag=True, help="Draw the accuracy.")
@maxlen_flag
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Where the picture goes, .png or .svg. [default: {_PICTURE} in the run directory, or here]",
)
@place_flags
@json_flag
def graph(show_loss: bool, show_acc: bool, maxlen: int | None, out: Path | None, place: Place, as_json: bool) -> None:
    """Draw loss and accuracy of every device and of the global model over the rounds.

    The devices' values are what they report of their training in a round; the global model's are those of fedtier
    evaluate, where it was called. With more than ten devices, those that lie apart from the others are named.

    With --json one object per round, one that names who lies apart, and one with the picture's path.

    Ends with status 0 when done, 1 when S3 cannot be used, nothing is published or the picture cannot be written,
    2 for wrong flags, 130 by Ctrl-C.
    """
    names = [name for name, wanted in zip(METRICS, (show_loss, show_acc), strict=True) if wanted] or list(METRICS)
    require_drawable(out or Path(_PICTURE), _FLAG)
    with ended_by_signals("the drawing"), opened(place) as published:
        history = federation_history(read_history(published.rounds, maxlen))
    target = out or _usual_place(published)
    title = Path(published.rounds.keys.prefix).name
    picture_file(target, _FLAG).draw_history(history, names, title=title)
    if as_json:
        for facts in history_facts(history, names):
            click.echo(as_json_line(facts))
        click.echo(as_json_line({"event": "written", "path": str(target)}))
    else:
        click.echo(f"written to {target}")


def history_facts(history: FederationHistory, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what a picture shows, as what becomes JSON objects: one per round, and at last who lies apart.

    Parameters
    ----------
    history : FederationHistory
    names : sequence of str
        Of `METRICS`.
    """
    for row, number in enumerate(history.rounds):
        facts: dict[str, Any] = {
            "event": "round",
            "round": int(number),
            "clients": int(history.counted[row]),
            "examples": int(history.examples[row].sum()),
            "seconds": _number(history.seconds[row]),
        }
        for name in names:
            metric = history.metrics[name]
            devices = zip(history.devices, metric.devices[row].tolist(), strict=True)
            facts[name] = {
                "mean": _number(metric.mean[row]),
                "deviation": _number(metric.deviation[row]),
                f"percentile_{LOW}": _number(metric.low[row]),
                "median": _number(metric.median[row]),
                f"percentile_{HIGH}": _number(metric.high[row]),
                "test": _number(metric.test[row]),
                "devices": {device: value for device, value in devices if not math.isnan(value)},
            }
        yield facts
    apart = {name: [history.devices[column] for column in outliers(history.metrics[name].devices)] for name in names}
    yield {"event": "outliers", **apart}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _usual_place(published: Published) -> Path:
    return Path(_PICTURE) if published.run is None else published.run.path / _PICTURE
