"""What both of Flower's legacy servers ask of their clients."""

from __future__ import annotations

from flwr.common import Parameters, Scalar
from flwr.server.strategy import FedAvg

from benchmarks.peers.work import Work


def all_clients(work: Work, opening: Parameters) -> FedAvg:
    """Return a strategy that trains on every client in each turn, from an opening model on, and evaluates nothing."""
    return FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=work.clients,
        min_available_clients=work.clients,
        accept_failures=False,
        on_fit_config_fn=_turn,
        initial_parameters=opening,
    )


def _turn(server_round: int) -> dict[str, Scalar]:
    """Tell clients the number of their turn."""
    return {"turn": server_round}
