"""Flower's legacy server, which adds up updates as they come: ``flower_legacy_tuned_server.py ADDRESS MESSAGE_BYTES``.

Tensors travel as their bare bytes, which neither side has to pack or unpack.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from flwr.common import Code, FitIns, Parameters, Scalar
from flwr.server import Server, ServerConfig, SimpleClientManager, start_server
from flwr.server.client_proxy import ClientProxy

from benchmarks.peers.apps.flower_strategy import all_clients
from benchmarks.peers.apps.summing import WeightedSum
from benchmarks.peers.work import saved_work
from benchmarks.updates import Floats

_FLOAT_BYTES = 4


class SummingServer(Server):
    """Keeps no update: whoever has one adds it to the round's sum, in the thread that got it."""

    def fit_round(
        self, server_round: int, timeout: float | None
    ) -> tuple[Parameters | None, dict[str, Scalar], tuple[list[object], list[object]]]:
        """Play one round."""
        asked = self.strategy.configure_fit(server_round, self.parameters, self.client_manager())
        total = WeightedSum([len(tensor) // _FLOAT_BYTES for tensor in self.parameters.tensors])

        def fit(client: ClientProxy, ins: FitIns) -> None:
            result = client.fit(ins, timeout, server_round)
            if result.status.code != Code.OK:
                raise RuntimeError(f"client {client.cid}: {result.status.message}")
            total.add(_emptied(result.parameters), result.num_examples)

        with ThreadPoolExecutor(len(asked)) as threads:
            list(threads.map(fit, *zip(*asked, strict=True)))
        return _parameters(total.mean()), {}, ([], [])


def _emptied(parameters: Parameters) -> Iterator[Floats]:
    """Yield an update's tensors, each forgotten once it was used."""
    parameters.tensors.reverse()
    while parameters.tensors:
        yield np.frombuffer(parameters.tensors.pop(), np.float32)


def _parameters(tensors: list[Floats]) -> Parameters:
    return Parameters([tensor.tobytes() for tensor in tensors], "float32")


def main() -> None:
    """Serve the run's rounds."""
    work = saved_work()
    strategy = all_clients(work, _parameters(work.opening()))
    start_server(
        server_address=sys.argv[1],
        server=SummingServer(client_manager=SimpleClientManager(), strategy=strategy),
        config=ServerConfig(num_rounds=work.turns),
        grpc_max_message_length=int(sys.argv[2]),
    )


if __name__ == "__main__":
    main()
