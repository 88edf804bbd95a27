"""What the tasks on MNIST images have in common: their data, and how an image becomes numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from client.datasets.catalogue import DATASETS
from client.datasets.shards import read_shard
from client.tasks.torch_task import Examples, TorchTask

_MNIST: Final = DATASETS["mnist"]

# Of the 60,000 training images, as fractions of full white.
_MEAN: Final = 0.1307
_DEVIATION: Final = 0.3081


class DigitTask(TorchTask):
    """Tells ten digits apart; its data is a shard (`client.datasets.shards`), and a subclass has the network.

    The network takes images [n, 1, 28, 28] of float32 and gives scores [n, 10].
    """

    label_names = _MNIST.label_names

    def load_examples(self, data: Path) -> Examples:
        """Read the shard; the images stay bytes until they are used."""
        shard = read_shard(data, _MNIST.layout)
        return Examples(torch.from_numpy(shard.inputs).unsqueeze(1), torch.from_numpy(shard.labels).long())

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return bytes as numbers of mean 0 and deviation 1."""
        return inputs.float().div_(255).sub_(_MEAN).div_(_DEVIATION)
