"""Counts which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedtier.dtypes import Array
from fedtier.problems import StartupError


class ConfusionCounts:
    """The confusion matrix of some examples, batch by batch.

    Parameters
    ----------
    label_names : sequence of str
        Names of the classes, in the order of the model's outputs.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        self._classes = len(label_names)
        self._counts = torch.zeros(self._classes**2, dtype=torch.int64)

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Count a batch.

        Parameters
        ----------
        outputs : Tensor, shape [n, classes]
            The largest of a row is what the model says.
        targets : Tensor of int, shape [n]

        Raises
        ------
        StartupError
            They are not those of so many classes.
        """
        if outputs.ndim != 2 or outputs.shape[1] != self._classes:
            raise StartupError(
                f"the task's model gives outputs of shape {list(outputs.shape)}, but label_names has {self._classes} "
                "classes; name as many as the model tells apart"
            )
        if targets.ndim != 1 or targets.is_floating_point():
            raise StartupError(
                f"the task's targets are {targets.dtype} {list(targets.shape)}, but label_names wants one whole number "
                "per example; give those, or leave label_names out"
            )
        truth, said = targets.long().cpu(), outputs.argmax(dim=1).cpu()
        if int(truth.min()) < 0 or int(truth.max()) >= self._classes:
            raise StartupError(
                f"the task's targets reach from {int(truth.min())} to {int(truth.max())}, but label_names has "
                f"{self._classes} classes; wanted 0 to {self._classes - 1}"
            )
        self._counts += torch.bincount(truth * self._classes + said, minlength=self._classes**2)

    def matrix(self) -> Array:
        """Return the counts: int64 [classes, classes]; row: the true class; column: the class the model says."""
        return np.array(self._counts.reshape(self._classes, self._classes).numpy())
