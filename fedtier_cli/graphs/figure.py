"""The whole picture of a history: its panels, one legend, and the names of those who lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedtier_cli.drawing import usual_style
from fedtier_cli.graphs import ink
from fedtier_cli.graphs.labels import EndLabel, end_label, place_labels, short
from fedtier_cli.graphs.legend import draw_legend
from fedtier_cli.graphs.outliers import outliers
from fedtier_cli.graphs.panels import draw_panel
from fedtier_cli.metrics import METRICS, shown_metric
from fedtier_cli.series import FederationHistory
from fedtier_cli.situation import plural


def history_figure(history: FederationHistory, names: Sequence[str] = METRICS, *, title: str = "") -> Figure:
    """Draw metrics of every device and of the global model over the rounds, one panel each.

    Up to ten devices have a line and a name in the legend each. Of more, all lines are faint, a band shows where
    four of five lie, and those that lie apart (`fedtier_cli.graphs.outliers`) are named beside the panel.

    Parameters
    ----------
    history : FederationHistory
        Of at least one round.
    names : sequence of str
        Of `METRICS`, at least one.
    title : str
        What the federation is called.
    """
    with usual_style():
        return _drawn(history, names, title)


def _drawn(history: FederationHistory, names: Sequence[str], title: str) -> Figure:
    figure = Figure(figsize=(ink.WIDTH, 1.0 + ink.PANEL_HEIGHT * len(names)), dpi=ink.DPI, layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0])
    apart = {name: named_devices(history, name) for name in names}
    colours = _colours(history, apart.values())
    few = len(history.devices) <= ink.MAX_LINES
    for axes, name in zip(panels, names, strict=True):
        draw_panel(axes, name, history, {column: colours[column] for column in (colours if few else apart[name])})
    panels[-1].set_xlabel("round", fontsize=ink.TEXT + 1)
    _limit_rounds(panels[-1], history, names)
    panels[0].set_title(_title(history, title), fontsize=ink.TEXT + 2, loc="left", parse_math=False)
    figure.align_ylabels(panels)
    draw_legend(figure, history, names, any(apart.values()))
    labels = [_end_labels(history, name, apart[name], colours) for name in names]
    place_labels(figure, panels, labels)
    return figure


def named_devices(history: FederationHistory, name: str) -> tuple[int, ...]:
    """Return the columns of the devices that are named beside a metric's panel: none where the legend has them all."""
    return () if len(history.devices) <= ink.MAX_LINES else outliers(history.metrics[name].devices)


def _colours(history: FederationHistory, apart: Iterable[tuple[int, ...]]) -> dict[int, str]:
    few = len(history.devices) <= ink.MAX_LINES
    columns = range(len(history.devices)) if few else dict.fromkeys(column for group in apart for column in group)
    return {column: ink.DEVICES[number % len(ink.DEVICES)] for number, column in enumerate(columns)}


def _limit_rounds(axes: Axes, history: FederationHistory, names: Sequence[str]) -> None:
    metrics = [history.metrics[name] for name in names]
    drawn = [~np.isnan(metric.devices).all(axis=1) | ~np.isnan(metric.test) for metric in metrics]
    rounds = history.rounds[np.any(drawn, axis=0)]
    first, last = (rounds[0], rounds[-1]) if len(rounds) else (history.rounds[0], history.rounds[-1])
    margin = max(0.015 * (last - first), 0.1) if last > first else 0.6
    axes.set_xlim(first - margin, last + margin)


def _title(history: FederationHistory, title: str) -> str:
    counted = history.counted[history.counted > 0]
    # Who was in no round is in no manifest either; how many devices there are is not known here.
    facts = [f"{plural(len(history.devices), 'device')} seen"]
    if len(counted) and counted.min() < len(history.devices):
        least, most = counted.min(), counted.max()
        facts.append(f"{least} in each round" if least == most else f"{least} to {most} in each round")
    facts.append(plural(len(counted), "round"))
    return ": ".join(part for part in (title, ", ".join(facts)) if part)


def _end_labels(history: FederationHistory, name: str, apart: Sequence[int], colours: dict[int, str]) -> list[EndLabel]:
    metric = history.metrics[name]
    labels = [
        end_label(short(history.devices[column]), colours[column], history.rounds, metric.devices[:, column])
        for column in apart
    ]
    if metric.is_tested:
        last = metric.test[~np.isnan(metric.test)][-1]
        labels.append(end_label(shown_metric(name, float(last)), ink.TEST, history.rounds, metric.test))
    return labels
