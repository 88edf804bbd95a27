"""Digits: the convolutional network of the paper on federated averaging, on MNIST images.

Two 5x5 convolutions of 32 and 64 filters that keep the images' size, each with 2x2 max-pooling,
a dense layer of 512 and one of 10 (McMahan et al., "Communication-Efficient Learning of Deep
Networks from Decentralized Data", 2017, section 3): 1,663,370 parameters.
"""

from __future__ import annotations

import torch

from client.tasks.convolutional import DigitNetwork
from client.tasks.digits import DigitTask


class MnistCnnLarge(DigitTask):
    """Trains a `DigitNetwork` of 1,663,370 parameters."""

    def build_model(self) -> torch.nn.Module:
        """Return the network with fresh weights."""
        return DigitNetwork(filters=(32, 64), hidden=512, padding=2)
