"""Digits: a network of two dense hidden layers, "2NN", on MNIST images.

Two layers of 200 rectified units each, and one of 10 (McMahan et al., "Communication-Efficient
Learning of Deep Networks from Decentralized Data", 2017, section 3): 199,210 parameters.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from client.tasks.digits import DigitTask


class TwoLayerNetwork(torch.nn.Module):
    """The network: images [n, 1, 28, 28] to scores [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(28 * 28, 200)
        self.fc2 = torch.nn.Linear(200, 200)
        self.fc3 = torch.nn.Linear(200, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score per digit."""
        hidden = functional.relu(self.fc1(images.flatten(start_dim=1)))
        hidden = functional.relu(self.fc2(hidden))
        scores: torch.Tensor = self.fc3(hidden)
        return scores


class Mnist2nn(DigitTask):
    """Trains `TwoLayerNetwork`."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        return TwoLayerNetwork()
