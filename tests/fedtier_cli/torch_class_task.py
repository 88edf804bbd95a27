"""A torch task that tells the classes of `tests.fedtier_cli.class_task` apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from client.tasks.torch_task import Examples, TorchTask


class TorchSteps(TorchTask):
    """A layer that gives each of three classes a score from one number."""

    label_names = ("low", "middle", "high")

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 3)

    def load_examples(self, data: Path) -> Examples:
        table = torch.from_numpy(np.loadtxt(data, delimiter=",", dtype=np.float32, ndmin=2))
        return Examples(table[:, :1], table[:, 1].long())
