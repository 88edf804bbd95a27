"""The legend of a history's picture: devices while they are few, and what the other lines are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fedtier_cli.graphs import ink
from fedtier_cli.graphs.labels import short
from fedtier_cli.graphs.outliers import THRESHOLD
from fedtier_cli.graphs.panels import LEAST_FOR_BAND
from fedtier_cli.series import HIGH, LOW, FederationHistory

_LETTER_WIDTH: Final = 0.58
_HANDLE_WIDTH: Final = 4.0
"""With the space around it; both are parts of the text's size."""


def draw_legend(figure: Figure, history: FederationHistory, names: Sequence[str], has_named: bool) -> None:
    """Write below the panels what their lines are.

    Parameters
    ----------
    figure : Figure
    history : FederationHistory
    names : sequence of str
        Of the metrics that are drawn.
    has_named : bool
        Whether devices are named because they lie apart.
    """
    metrics = [history.metrics[name] for name in names]
    handles: list[Line2D | Patch] = []
    if any(metric.is_reported for metric in metrics):
        handles += _device_handles(history, has_named)
        handles.append(Line2D([], [], color=ink.MEAN, linewidth=2, label="mean of devices, weighted by examples"))
        most = max(int(np.count_nonzero(~np.isnan(metric.devices), axis=1).max()) for metric in metrics)
        if most >= LEAST_FOR_BAND:
            label = f"{LOW}th to {HIGH}th percentile of devices"
            handles.append(Patch(color=ink.BAND, alpha=ink.BAND_ALPHA, linewidth=0, label=label))
    if any(metric.is_tested for metric in metrics):
        tested = Line2D([], [], color=ink.TEST, linewidth=1.4, marker="D", markersize=5, markerfacecolor="white")
        tested.set_label("global model on test data")
        handles.append(tested)
    if not handles:
        return
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_columns([str(handle.get_label()) for handle in handles]),
        fontsize=ink.SMALL,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _device_handles(history: FederationHistory, has_named: bool) -> list[Line2D | Patch]:
    """Return a handle for each device where they are few, else one that stands for all."""
    if len(history.devices) <= ink.MAX_LINES:
        return [
            Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=1.3, label=short(device))
            for device, colour, marker in zip(history.devices, ink.DEVICES, ink.MARKERS, strict=False)
        ]
    handles: list[Line2D | Patch] = [Line2D([], [], color=ink.FAINT, alpha=0.5, linewidth=0.8, label="one device")]
    if has_named:
        label = f"outlier, {THRESHOLD:g} robust deviations off"
        handles.append(Line2D([], [], color=ink.DEVICES[0], linewidth=1.3, label=label))
    return handles


def _columns(labels: Sequence[str]) -> int:
    """Return how many columns fit side by side where all are as wide as the widest."""
    widest = (_LETTER_WIDTH * max(map(len, labels)) + _HANDLE_WIDTH) * ink.SMALL
    return max(min(int(ink.WIDTH * ink.POINTS / widest), len(labels)), 1)
