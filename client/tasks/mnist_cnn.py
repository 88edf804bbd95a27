"""Digits: a small convolutional network on MNIST images.

Two 5x5 convolutions of 20 and 50 filters, each with 2x2 max-pooling, a dense layer
of 500 and one of 10 (after LeCun et al., "Gradient-based learning applied to
document recognition", 1998, with rectified units): 431,080 parameters.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from client.tasks.digits import DigitTask


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


class MnistCnn(DigitTask):
    """Trains `DigitNetwork`."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        # With the channels last, an epoch takes two thirds of the time on a CPU.
        # The signatures that torch declares for `to` leave memory_format alone out.
        network: torch.nn.Module = DigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network
