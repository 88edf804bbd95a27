"""Tables: a very small convolutional network on rows of 17 numbers, of two classes.

One convolution of 4 filters along the columns, max-pooling over 3, a dense layer of 8 and one of 2:
202 parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch.nn import functional

from client.datasets.catalogue import DATASETS
from client.datasets.shards import read_shard
from client.tasks.torch_task import Examples, TorchTask

_TABULAR: Final = DATASETS["tabular"]
_FILTERS: Final = 4
_POOLED: Final = 5
"""Of 17 columns a filter of 3 sees 15 places, and pooling leaves a third of them."""


class RowNetwork(torch.nn.Module):
    """The network: rows [n, 17] to scores [n, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(1, _FILTERS, kernel_size=3)
        self.fc1 = torch.nn.Linear(_FILTERS * _POOLED, 8)
        self.fc2 = torch.nn.Linear(8, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return one score per class."""
        features = functional.max_pool1d(functional.relu(self.conv(rows.unsqueeze(1))), 3)
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc2(hidden)
        return scores


class TabularCnn(TorchTask):
    """Trains `RowNetwork`; its data is a shard (`client.datasets.shards`) of rows of 17 numbers."""

    label_names = _TABULAR.label_names

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        return RowNetwork()

    def load_examples(self, data: Path) -> Examples:
        """Read the shard."""
        shard = read_shard(data, _TABULAR.layout)
        return Examples(torch.from_numpy(shard.inputs).float(), torch.from_numpy(shard.labels).long())

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return sign(x) * log(1 + |x|): columns of any magnitude come near each other.

        Means and deviations would do so too, but they are statistics of somebody's data.
        """
        return inputs.abs().log1p().copysign(inputs)
