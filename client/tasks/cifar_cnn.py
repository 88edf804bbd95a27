"""Photographs: a small convolutional network on CIFAR-10 images.

Two 5x5 convolutions of 6 and 16 filters, each with 2x2 max-pooling, and dense layers of 120, 84
and 10, as in PyTorch's tutorial "Training a Classifier" (after LeCun et al., "Gradient-based
learning applied to document recognition", 1998, with rectified units): 62,006 parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch.nn import functional

from client.datasets.catalogue import DATASETS
from client.datasets.shards import read_shard
from client.tasks.torch_task import Examples, TorchTask

_CIFAR: Final = DATASETS["cifar10"]


class PhotoNetwork(torch.nn.Module):
    """The network: images [n, 3, 32, 32] to scores [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 6, kernel_size=5)
        self.conv2 = torch.nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = torch.nn.Linear(16 * 5 * 5, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score per class."""
        # Pooling before the rectifier gives the same values for a quarter of the work.
        features = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        features = functional.relu(functional.max_pool2d(self.conv2(features), 2))
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        hidden = functional.relu(self.fc2(hidden))
        scores: torch.Tensor = self.fc3(hidden)
        return scores


class CifarCnn(TorchTask):
    """Trains `PhotoNetwork`; its data is a shard (`client.datasets.shards`) of CIFAR-10 images."""

    label_names = _CIFAR.label_names

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        return PhotoNetwork()

    def load_examples(self, data: Path) -> Examples:
        """Read the shard; the images stay bytes until they are used."""
        shard = read_shard(data, _CIFAR.layout)
        return Examples(torch.from_numpy(shard.inputs), torch.from_numpy(shard.labels).long())

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return bytes as numbers from -1 to 1."""
        return inputs.float().div_(255).sub_(0.5).div_(0.5)
