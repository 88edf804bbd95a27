"""Digits: a small convolutional network on MNIST images.

Two 5x5 convolutions of 20 and 50 filters, each with 2x2 max-pooling, a dense layer
of 500 and one of 10 (after LeCun et al., "Gradient-based learning applied to
document recognition", 1998, with rectified units): 431,080 parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch.nn import functional

from client.datasets.shards import read_shard
from client.tasks.torch_task import Examples, TorchTask

# Of the 60,000 training images, as fractions of full white.
_MEAN: Final = 0.1307
_DEVIATION: Final = 0.3081


class DigitNetwork(torch.nn.Module):
    """The network: images [n, 1, 28, 28] to scores [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 20, kernel_size=5)
        self.conv2 = torch.nn.Conv2d(20, 50, kernel_size=5)
        self.fc1 = torch.nn.Linear(50 * 4 * 4, 500)
        self.fc2 = torch.nn.Linear(500, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score per digit."""
        # Pooling before the rectifier gives the same values for a quarter of the work.
        features = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        features = functional.relu(functional.max_pool2d(self.conv2(features), 2))
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc2(hidden)
        return scores


class MnistCnn(TorchTask):
    """Trains `DigitNetwork`; its data is a shard (`client.datasets.shards`)."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        # With the channels last, an epoch takes two thirds of the time on a CPU.
        # The signatures that torch declares for `to` leave memory_format alone out.
        network: torch.nn.Module = DigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def load_examples(self, data: Path) -> Examples:
        """Read the shard; the images stay bytes until they are used."""
        shard = read_shard(data)
        return Examples(torch.from_numpy(shard.images).unsqueeze(1), torch.from_numpy(shard.labels).long())

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return bytes as numbers of mean 0 and deviation 1."""
        return inputs.float().div_(255).sub_(_MEAN).div_(_DEVIATION)
