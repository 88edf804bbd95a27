"""Networks of two convolutions and two dense layers, for small grey images."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

_SIDE: Final = 28
_KERNEL: Final = 5
_CLASSES: Final = 10


class DigitNetwork(torch.nn.Module):
    """Two 5x5 convolutions, each with 2x2 max-pooling, a dense layer, and one score per digit.

    Takes images [n, 1, 28, 28] of float32 and gives scores [n, 10].

    Parameters
    ----------
    filters : (int, int)
        Of the two convolutions.
    hidden : int
        Units of the dense layer.
    padding : int
        Zeros around an image at each convolution; 2 keeps its size.
    """

    def __init__(self, *, filters: tuple[int, int], hidden: int, padding: int) -> None:
        super().__init__()
        first, second = filters
        self.conv1 = torch.nn.Conv2d(1, first, kernel_size=_KERNEL, padding=padding)
        self.conv2 = torch.nn.Conv2d(first, second, kernel_size=_KERNEL, padding=padding)
        side = _halved(_halved(_SIDE, padding), padding)
        self.fc1 = torch.nn.Linear(second * side * side, hidden)
        self.fc2 = torch.nn.Linear(hidden, _CLASSES)
        # With the channels last, an epoch takes two thirds of the time on a CPU.
        for convolution in (self.conv1, self.conv2):
            weights = convolution.weight
            weights.data = weights.data.to(weights.dtype, memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score per digit."""
        # Pooling before the rectifier gives the same values for a quarter of the work.
        features = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        features = functional.relu(functional.max_pool2d(self.conv2(features), 2))
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc2(hidden)
        return scores


def _halved(side: int, padding: int) -> int:
    """Return the side of an image after a convolution and the pooling."""
    return (side + 2 * padding - _KERNEL + 1) // 2
