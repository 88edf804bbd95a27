"""A round's confusion matrix as a picture. Needs matplotlib."""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fedtier.evaluations import Confusion
from fedtier.plain_text import printable
from fedtier_cli.drawing import usual_style

_POINTS: Final = 72
_DPI: Final = 150
_CELL_INCHES: Final = 0.55
_MATRIX_INCHES: Final = (3.2, 11.0)
"""Smallest and greatest side of the matrix."""
_MARGIN_INCHES: Final = 0.7
_TEXT_SIZE: Final = (5.0, 10.0)
"""Points: smaller cannot be read, larger is not needed."""
_COUNT_SIZE: Final = 6.0
"""Points: a count that would have to be smaller is left out."""
_DIGIT_WIDTH: Final = 0.64
"""Of a digit, as part of the text's size."""
_LABEL_LENGTH: Final = 24
_PARTS: Final = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


def confusion_figure(round_number: int, confusion: Confusion, accuracy: float | None) -> Figure:
    """Draw a confusion matrix: colours are parts of each true class's examples, numbers are examples.

    Parameters
    ----------
    round_number : int
    confusion : Confusion
    accuracy : float or None
        As the task says it; for the title.
    """
    with usual_style():
        return _drawn(round_number, confusion, accuracy)


def _drawn(round_number: int, confusion: Confusion, accuracy: float | None) -> Figure:
    counts = np.array(confusion.counts, np.int64)
    cell = min(max(_CELL_INCHES, _MATRIX_INCHES[0] / len(counts)), _MATRIX_INCHES[1] / len(counts))
    side = cell * len(counts)
    labels = [_short(label) for label in confusion.labels]
    margin = _MARGIN_INCHES + _text_size(cell) * _DIGIT_WIDTH * max(map(len, labels)) / _POINTS
    figure = Figure(figsize=(side + margin + 1.3, side + margin + 0.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    image = _draw_cells(axes, counts)
    _draw_labels(axes, labels, cell)
    _draw_counts(axes, counts, cell)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, ticks=list(_PARTS))
    bar.ax.set_yticklabels([f"{part:.0%}" for part in _PARTS])
    bar.set_label("part of the true class's examples")
    told = "" if accuracy is None else f": accuracy {accuracy:.2%}"
    axes.set_title(f"round {round_number}{told}, {counts.sum():,} test examples", fontsize=11)
    return figure


def _draw_cells(axes: Axes, counts: npt.NDArray[np.int64]) -> AxesImage:
    # The root lets a mistake of one in a hundred be seen beside a class that is told right.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    colours = mpl.colormaps["Blues"].with_extremes(bad="0.85")
    return axes.imshow(_parts(counts), cmap=colours, norm=norm, interpolation="nearest")


def _draw_labels(axes: Axes, labels: list[str], cell: float) -> None:
    size = _text_size(cell)
    step = max(1, int(np.ceil(size / (cell * _POINTS))))
    places, shown = range(0, len(labels), step), labels[::step]
    upright = max(map(len, labels)) * _DIGIT_WIDTH * size > cell * step * _POINTS
    # A label with dollar signs is no formula.
    axes.set_xticks(places, shown, fontsize=size, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(places, shown, fontsize=size, parse_math=False)
    axes.set_xlabel("class that the model says")
    axes.set_ylabel("true class")
    axes.tick_params(length=2)


def _draw_counts(axes: Axes, counts: npt.NDArray[np.int64], cell: float) -> None:
    widest = _DIGIT_WIDTH * max(len(str(counts.max())), 2)
    size = min(_TEXT_SIZE[1], 0.9 * cell * _POINTS / widest)
    if size < _COUNT_SIZE:
        return
    for row in np.flatnonzero(counts.sum(axis=1) == 0):
        axes.text((len(counts) - 1) / 2, int(row), "no examples", ha="center", va="center", fontsize=size)
    parts = np.nan_to_num(_parts(counts))
    for row, column in np.argwhere(counts):
        colour = "white" if parts[row, column] > 0.4 else "black"  # where the root makes the blue dark
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=size)


def _parts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each row's counts as parts of its sum; NaN for a class without examples."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _text_size(cell: float) -> float:
    return float(np.clip(0.8 * cell * _POINTS, *_TEXT_SIZE))


def _short(label: str) -> str:
    label = printable(label)
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…"
