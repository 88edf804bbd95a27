"""Flower's legacy server: ``flower_legacy_server.py ADDRESS MESSAGE_BYTES``."""

from __future__ import annotations

import sys

from flwr.common import ndarrays_to_parameters
from flwr.server import Server, ServerConfig, SimpleClientManager, start_server

from benchmarks.peers.apps.flower_strategy import all_clients
from benchmarks.peers.work import saved_work


def main() -> None:
    """Serve the run's rounds."""
    work = saved_work()
    strategy = all_clients(work, ndarrays_to_parameters(work.opening()))
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
