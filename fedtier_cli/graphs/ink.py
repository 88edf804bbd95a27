"""What a history's picture looks like: colours, sizes, and how strong a line may be where there are many."""

from __future__ import annotations

from typing import Final

import numpy as np

WIDTH: Final = 10.0
"""Of the figure, in inches: at 1,000 pixels a point is 1.4 pixels."""
PANEL_HEIGHT: Final = 3.4
DPI: Final = 150
POINTS: Final = 72
"""Per inch, of which sizes of text are given."""
TEXT: Final = 10.0
SMALL: Final = 9.0
MEAN: Final = "#000000"
TEST: Final = "#c0000c"
BAND: Final = "#5b7fa6"
BAND_ALPHA: Final = 0.25
FAINT: Final = "#6b7c93"
NOTE: Final = "#555555"

DEVICES: Final = (
    *("#3f90da", "#832db6", "#00876c", "#e76300", "#a96b59"),
    *("#717581", "#ffa90e", "#d98cc0", "#92dadd", "#b9ac70"),
)
"""Ten colours that the colour-blind tell apart, after Petroff, "Accessible Color Sequences for Data
Visualization" (2021, arXiv:2107.02270); without its red, which is the global model's, and a second grey. The first
are dark enough for text."""
MARKERS: Final = "os^vDPX<>*"
"""One for each of `DEVICES`, so that colour is not all that tells devices apart."""

MAX_LINES: Final = len(DEVICES)
"""More devices than that get no colour and no name of their own."""
MAX_MARKED: Final = 40
"""Rounds up to which every point has a mark."""
MAX_DOTTED: Final = 150
"""Tested rounds up to which each has at least a small mark."""
MAX_SEGMENTS: Final = 20_000
"""Points above which a vector picture holds the devices' lines as pixels."""


def faintness(devices: int) -> float:
    """Return how opaque each of so many lines is, so that all together stay in the background."""
    return float(np.clip(9 / devices, 0.045, 0.4))


def dot_faintness(dots: int) -> float:
    """Return how opaque each of so many dots is."""
    return float(np.clip(250 / max(dots, 1), 0.07, 0.4))


def mean_width(rounds: int) -> float:
    """Return how thick the mean's line is, in points: one that jumps over many rounds would be a block."""
    return 2.0 if rounds <= MAX_DOTTED else 1.2
