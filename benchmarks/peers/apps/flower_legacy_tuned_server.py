"""Flower's legacy server, tuned, ``flower_legacy_tuned_server.py ADDRESS MESSAGE_BYTES``: it adds replies up at once.

Tensors travel as their bare bytes, so nothing is packed into `.npy` and unpacked again; clients do the same.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from flwr.common import FitIns, Parameters, Scalar
from flwr.server import Server, ServerConfig, SimpleClientManager, start_server
from flwr.server.client_proxy import ClientProxy
from flwr.server.server import FitResultsAndFailures
from flwr.server.strategy import FedAvg

from benchmarks.peers.apps.flower_raw import packed, unpacked
from benchmarks.peers.work import Work, saved_work
from benchmarks.updates import Floats


class AddingUp(Server):
    """Trains on all clients at once, and adds each reply to one sum when it is there."""

    def __init__(self, work: Work) -> None:
        super().__init__(client_manager=SimpleClientManager(), strategy=_strategy(work))
        self._work = work

    def fit_round(
        self, server_round: int, timeout: float | None
    ) -> tuple[Parameters | None, dict[str, Scalar], FitResultsAndFailures] | None:
        """Return the average of all replies by number of examples."""
        asked = self.strategy.configure_fit(server_round, self.parameters, self.client_manager())
        total = _Total(self._work)

        def train(client: ClientProxy, instructions: FitIns) -> None:
            reply = client.fit(instructions, timeout, server_round)
            total.add(unpacked(self._work, reply.parameters), reply.num_examples)

        with ThreadPoolExecutor(self._work.clients) as pool:
            for done in [pool.submit(train, *each) for each in asked]:
                done.result()
        return packed(total.mean()), {}, ([], [])


class _Total:
    """A sum that several threads add to."""

    def __init__(self, work: Work) -> None:
        shapes = work.outline.shapes().values()
        self._sums = [np.zeros(shape, np.float32) for shape in shapes]
        self._scaled = [np.empty(shape, np.float32) for shape in shapes]
        self._weight = 0
        self._lock = threading.Lock()

    def add(self, update: list[Floats], examples: int) -> None:
        with self._lock:
            self._weight += examples
            for summed, scaled, tensor in zip(self._sums, self._scaled, update, strict=True):
                np.multiply(tensor, np.float32(examples), out=scaled)
                np.add(summed, scaled, out=summed)

    def mean(self) -> list[Floats]:
        return [np.divide(summed, np.float32(self._weight), out=summed) for summed in self._sums]


def _strategy(work: Work) -> FedAvg:
    return FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=work.clients,
        min_available_clients=work.clients,
        on_fit_config_fn=lambda server_round: {"turn": server_round},
        initial_parameters=packed(work.opening()),
    )


def main() -> None:
    """Serve the run's rounds."""
    work = saved_work()
    start_server(
        server_address=sys.argv[1],
        server=AddingUp(work),
        config=ServerConfig(num_rounds=work.turns),
        grpc_max_message_length=int(sys.argv[2]),
    )


if __name__ == "__main__":
    main()
