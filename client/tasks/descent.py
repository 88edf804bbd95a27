"""How a torch module's weights move, one step per batch: SGD or Adam, and FedProx's pull."""

from __future__ import annotations

import torch

from client.task import FitConfig


class Descent:
    """Takes the steps of one fit.

    An optimizer's memory (momentum, Adam's moments) starts empty with each fit: no client keeps anything from
    round to round, so it matters not which of its rounds a client has missed.

    FedProx (Li et al., "Federated Optimization in Heterogeneous Networks", 2020, arXiv:1812.06127, equation 2)
    adds ``prox_mu / 2 * ||w - w_round||^2`` to the loss. Its gradient, ``prox_mu * (w - w_round)``, is added to
    that of the data, so a reported loss stays that of the data, and Adam sees both.

    Parameters
    ----------
    model : Module
        With the round's weights; those that take a gradient are trained.
    config : FitConfig
    """

    def __init__(self, model: torch.nn.Module, config: FitConfig) -> None:
        self._optimizer = _optimizer(model, config)
        self._pull = config.prox_mu
        trained = [weights for weights in model.parameters() if weights.requires_grad] if self._pull else []
        self._anchors = [(weights, weights.detach().clone()) for weights in trained]

    def step(self, loss: torch.Tensor) -> None:
        """Move the weights against the gradient of a batch's loss, a scalar."""
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        for weights, anchor in self._anchors:
            # Weights that the loss does not reach do not move, so nothing pulls on them.
            if weights.grad is not None:
                weights.grad.add_(weights.detach() - anchor, alpha=self._pull)
        self._optimizer.step()


def _optimizer(model: torch.nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
