"""Digits: a small convolutional network on MNIST images.

Two 5x5 convolutions of 20 and 50 filters, each with 2x2 max-pooling, a dense layer
of 500 and one of 10 (after LeCun et al., "Gradient-based learning applied to
document recognition", 1998, with rectified units): 431,080 parameters.
"""

from __future__ import annotations

import torch

from client.tasks.convolutional import DigitNetwork
from client.tasks.digits import DigitTask


class MnistCnn(DigitTask):
    """Trains a `DigitNetwork` of 431,080 parameters."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        return DigitNetwork(filters=(20, 50), hidden=500, padding=0)
