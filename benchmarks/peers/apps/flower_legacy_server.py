"""Flower's legacy server: ``flower_legacy_server.py ADDRESS MESSAGE_BYTES``."""

from __future__ import annotations

import sys

from flwr.common import Scalar, ndarrays_to_parameters
from flwr.server import Server, ServerConfig, SimpleClientManager, start_server
from flwr.server.strategy import FedAvg

from benchmarks.peers.work import saved_work


def turn(server_round: int) -> dict[str, Scalar]:
    """Tell clients the number of their turn."""
    return {"turn": server_round}


def main() -> None:
    """Serve the run's rounds."""
    work = saved_work()
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=work.clients,
        min_available_clients=work.clients,
        accept_failures=False,
        on_fit_config_fn=turn,
        initial_parameters=ndarrays_to_parameters(work.opening()),
    )
    server = Server(client_manager=SimpleClientManager(), strategy=strategy)
    server.set_max_workers(work.clients)  # of itself it trains cores + 4 at a time, and all have to meet
    start_server(
        server_address=sys.argv[1],
        server=server,
        config=ServerConfig(num_rounds=work.turns),
        grpc_max_message_length=int(sys.argv[2]),
    )


if __name__ == "__main__":
    main()
