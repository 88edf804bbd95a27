"""Every picture that there is, drawn into its file. Needs matplotlib; `fedtier_cli.pictures` loads this to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedtier.evaluations import Confusion
from fedtier_cli.confusion_picture import confusion_figure
from fedtier_cli.drawing import write_picture
from fedtier_cli.graphs.figure import history_figure
from fedtier_cli.label_picture import label_figure
from fedtier_cli.series import FederationHistory


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The file that a picture goes into; each method draws another picture, and replaces what was there.

    Every method raises `fedtier.problems.StartupError` where the file cannot be written.

    Parameters
    ----------
    path : Path
        Of one of `fedtier_cli.pictures.FORMATS`.
    flag : str
        By which the user chose the path.
    """

    path: Path
    flag: str

    def draw_labels(self, counts: npt.NDArray[np.int64], labels: tuple[str, ...], *, title: str) -> None:
        """Draw which labels each client has, see `fedtier_cli.label_picture.label_figure`."""
        write_picture(self.path, label_figure(counts, labels, title=title), self.flag)

    def draw_confusion(self, round_number: int, confusion: Confusion, accuracy: float | None) -> None:
        """Draw a round's confusion matrix, see `fedtier_cli.confusion_picture.confusion_figure`."""
        write_picture(self.path, confusion_figure(round_number, confusion, accuracy), self.flag)

    def draw_history(self, history: FederationHistory, names: Sequence[str], *, title: str) -> None:
        """Draw metrics over the rounds, see `fedtier_cli.graphs.figure.history_figure`."""
        write_picture(self.path, history_figure(history, names, title=title), self.flag)
