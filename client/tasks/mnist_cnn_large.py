"""Digits: the convolutional network of the paper on federated averaging, on MNIST images.

Two 5x5 convolutions of 32 and 64 filters that keep the images' size, each with 2x2 max-pooling,
a dense layer of 512 and one of 10 (McMahan et al., "Communication-Efficient Learning of Deep
Networks from Decentralized Data", 2017, section 3): 1,663,370 parameters.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from client.tasks.digits import DigitTask


class LargeDigitNetwork(torch.nn.Module):
    """The network: images [n, 1, 28, 28] to scores [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 32, kernel_size=5, padding=2)
        self.conv2 = torch.nn.Conv2d(32, 64, kernel_size=5, padding=2)
        self.fc1 = torch.nn.Linear(64 * 7 * 7, 512)
        self.fc2 = torch.nn.Linear(512, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score per digit."""
        # Pooling before the rectifier gives the same values for a quarter of the work.
        features = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        features = functional.relu(functional.max_pool2d(self.conv2(features), 2))
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc2(hidden)
        return scores


class MnistCnnLarge(DigitTask):
    """Trains `LargeDigitNetwork`."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        # With the channels last, an epoch takes less time on a CPU.
        # The signatures that torch declares for `to` leave memory_format alone out.
        network: torch.nn.Module = LargeDigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network
