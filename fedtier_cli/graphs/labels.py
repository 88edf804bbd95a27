"""Names and numbers beside the ends of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from fedtier_cli.graphs import ink
from fedtier_cli.graphs.spacing import spread
from fedtier_cli.series import Counts, Floats

_NAME_LENGTH: Final = 24
_LINE_SPACING: Final = 1.35
_RIGHT: Final = 1.02
"""Where labels begin, in widths of the panel."""


@dataclass(frozen=True, slots=True)
class EndLabel:
    """A name that belongs beside the end of a line.

    Parameters
    ----------
    text : str
    colour : str
    round : int
    value : float
        Where the line ends.
    """

    text: str
    colour: str
    round: int
    value: float


def end_label(text: str, colour: str, rounds: Counts, values: Floats) -> EndLabel:
    """Return the label of a line that has at least one value."""
    last = int(np.flatnonzero(~np.isnan(values))[-1])
    return EndLabel(text, colour, int(rounds[last]), float(values[last]))


def place_labels(figure: Figure, panels: Sequence[Axes], labels: Sequence[Sequence[EndLabel]]) -> None:
    """Write labels right of the panels, beside the ends of their lines and not upon each other."""
    notes = [[_annotate(axes, label) for label in group] for axes, group in zip(panels, labels, strict=True)]
    # The layout makes room for the labels' widths; only then is known how high the panels are.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    gap = ink.SMALL * _LINE_SPACING * ink.DPI / ink.POINTS
    for axes, group, written in zip(panels, labels, notes, strict=True):
        box = axes.get_window_extent()
        ends = [axes.transData.transform((label.round, _within(axes, label.value)))[1] for label in group]
        for note, place in zip(written, spread(ends, gap, box.y0, box.y1), strict=True):
            note.set_position((_RIGHT, (place - box.y0) / box.height))


def _annotate(axes: Axes, label: EndLabel) -> Annotation:
    return axes.annotate(
        label.text,
        xy=(label.round, _within(axes, label.value)),
        xytext=(_RIGHT, 0.5),
        textcoords="axes fraction",
        va="center",
        fontsize=ink.SMALL,
        color=label.colour,
        annotation_clip=False,
        parse_math=False,
        # From the middle of the left edge: from the middle of the text, a steep line would cross the labels beneath.
        arrowprops={
            "arrowstyle": "-",
            "color": label.colour,
            "linewidth": 0.7,
            "shrinkA": 1,
            "shrinkB": 2,
            "relpos": (0.0, 0.5),
        },
    )


def _within(axes: Axes, value: float) -> float:
    """Return the value, or the edge of a logarithmic axis that it lies beyond."""
    low, high = axes.get_ylim()
    return min(max(value, low), high)


def short(name: str) -> str:
    """Return a device's id, cut where it is too long for a picture."""
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
