"""Which labels each client has, as a picture: bars that can be read one by one, or a heat map where there are many.

Needs matplotlib.
"""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedtier_cli.drawing import usual_style

_DPI: Final = 150
_POINTS: Final = 72
_TEXT: Final = 9.0
"""Points."""
_DIGIT_WIDTH: Final = 0.62
"""Of a character, as part of the text's size."""
_COLOURS: Final = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
"""Ten colours that the colour-blind tell apart: Petroff, "Accessible Color Sequences for Data Visualization", 2021
(arXiv:2107.02270)."""
_DARK: Final = ("#bd1f01", "#832db6", "#a96b59", "#717581", "#3f90da")
"""Those on which white text is read more easily than black."""
_MOST_BARS: Final = 30
_BAR_INCHES: Final = 0.28
_BARS_INCHES: Final = 7.0
"""Width of the longest bar."""
_ROOM_FOR_SIZE: Final = 1.1
"""Of the longest bar; its number of examples stands at its end."""
_ROW_PIXELS: Final = (3, 12)
_MAP_INCHES: Final = 14.0
"""Height of the largest heat map."""
_COLUMN_INCHES: Final = 0.45
_TOTALS_INCHES: Final = 1.5
_MARGIN_INCHES: Final = 0.85
_TICKS: Final = 25


def label_figure(counts: npt.NDArray[np.int64], labels: tuple[str, ...], *, title: str) -> Figure:
    """Draw how many examples of each label each client has.

    Up to 30 clients and ten labels have stacked bars, more a heat map with the clients' sizes beside it.

    Parameters
    ----------
    counts : ndarray of int64, shape [clients, labels]
    labels : tuple of str
        Names, in order.
    title : str
    """
    is_small = len(counts) <= _MOST_BARS and len(labels) <= len(_COLOURS)
    with usual_style():
        return _bars(counts, labels, title) if is_small else _heat_map(counts, labels, title)


def _bars(counts: npt.NDArray[np.int64], labels: tuple[str, ...], title: str) -> Figure:
    height = max(_BAR_INCHES * len(counts), _BAR_INCHES * len(labels)) + 2 * _MARGIN_INCHES
    figure = Figure(figsize=(_BARS_INCHES * _ROOM_FOR_SIZE + 2.2, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    clients = np.arange(len(counts))
    ends = np.cumsum(counts, axis=1)
    axes.set_xlim(0, ends[:, -1].max() * _ROOM_FOR_SIZE)
    for number, label in enumerate(labels):
        sizes, starts = counts[:, number], ends[:, number] - counts[:, number]
        axes.barh(clients, sizes, 0.8, starts, color=_COLOURS[number], label=label)
        _name_segments(axes, number, label, sizes, starts)
    for client, size in enumerate(ends[:, -1].tolist()):
        axes.annotate(f"{size:,}", (size, client), (3, 0), textcoords="offset points", va="center", fontsize=_TEXT - 1)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_yticks(clients, [str(client) for client in clients], fontsize=_TEXT)
    axes.set_xlabel("training examples", fontsize=_TEXT)
    axes.set_ylabel("client", fontsize=_TEXT)
    axes.tick_params(axis="x", labelsize=_TEXT)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=_TEXT + 2, loc="left")
    figure.legend(loc="outside right upper", title="label", fontsize=_TEXT, title_fontsize=_TEXT, frameon=False)
    return figure


def _name_segments(
    axes: Axes, number: int, label: str, sizes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
) -> None:
    """Write a label's name into its segments where there is room, so that colour is not all that tells them apart."""
    inches = sizes / axes.get_xlim()[1] * _BARS_INCHES * _ROOM_FOR_SIZE
    needed = (len(label) + 1) * _DIGIT_WIDTH * (_TEXT - 1) / _POINTS
    colour = "white" if _COLOURS[number] in _DARK else "black"
    for client in np.flatnonzero(inches >= needed):
        middle = float(starts[client] + sizes[client] / 2)
        axes.text(middle, int(client), label, ha="center", va="center", fontsize=_TEXT - 1, color=colour)


def _heat_map(counts: npt.NDArray[np.int64], labels: tuple[str, ...], title: str) -> Figure:
    # A whole number of pixels for each client, or some would look larger than others.
    pixels = int(np.clip(_MAP_INCHES * _DPI // len(counts), *_ROW_PIXELS))
    map_height = min(pixels * len(counts) / _DPI, _MAP_INCHES)
    map_width = max(_COLUMN_INCHES * len(labels), 3.0)
    below = _MARGIN_INCHES + max(map(len, labels)) * _DIGIT_WIDTH * _TEXT / _POINTS
    width, height = map_width + _TOTALS_INCHES + 3.2, map_height + below + 0.5
    figure = Figure(figsize=(width, height), dpi=_DPI)

    def placed(left: float, wide: float) -> tuple[float, float, float, float]:
        return left / width, below / height, wide / width, map_height / height

    cells = figure.add_axes(placed(_MARGIN_INCHES, map_width))
    totals = figure.add_axes(placed(_MARGIN_INCHES + map_width + 0.15, _TOTALS_INCHES), sharey=cells)
    scale = figure.add_axes(placed(_MARGIN_INCHES + map_width + _TOTALS_INCHES + 0.6, 0.18))
    _draw_cells(cells, scale, counts, labels)
    _draw_totals(totals, counts.sum(axis=1))
    figure.text(_MARGIN_INCHES / width, 1 - 0.32 / height, title, fontsize=_TEXT + 2)
    return figure


def _draw_cells(axes: Axes, scale: Axes, counts: npt.NDArray[np.int64], labels: tuple[str, ...]) -> None:
    # The root tells few examples from many where one client has nearly all.
    norm = PowerNorm(0.5, vmin=0, vmax=max(int(counts.max()), 1))
    colours = mpl.colormaps["viridis_r"].with_extremes(bad="white")
    image = axes.imshow(np.ma.masked_equal(counts, 0), cmap=colours, norm=norm, aspect="auto")
    upright = max(map(len, labels)) > 3
    axes.set_xticks(range(len(labels)), labels, fontsize=_TEXT, rotation=90 if upright else 0)
    axes.yaxis.set_major_locator(MaxNLocator(min(_TICKS, max(len(counts) // 5, 2)), integer=True))
    axes.tick_params(axis="y", labelsize=_TEXT)
    for border in range(1, len(labels)):
        axes.axvline(border - 0.5, color="0.85", linewidth=0.6)
    axes.set_xlabel("label", fontsize=_TEXT)
    axes.set_ylabel("client", fontsize=_TEXT)
    bar = axes.figure.colorbar(image, cax=scale)
    bar.set_label("training examples of the label (white: none)", fontsize=_TEXT)
    bar.ax.tick_params(labelsize=_TEXT)


def _draw_totals(axes: Axes, totals: npt.NDArray[np.int64]) -> None:
    edges = np.arange(len(totals) + 1) - 0.5
    axes.stairs(totals, edges, orientation="horizontal", fill=True, color="#717581")
    axes.tick_params(axis="y", labelleft=False, length=0)
    axes.set_xlim(0, totals.max() * 1.05)
    axes.set_xticks([0, int(totals.max())], ["0", f"{totals.max():,}"], fontsize=_TEXT)
    axes.set_xlabel("examples\nin all", fontsize=_TEXT)
    axes.spines[["top", "right"]].set_visible(False)
