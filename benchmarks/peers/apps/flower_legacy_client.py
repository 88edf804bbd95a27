"""A client of Flower's legacy server: ``flower_legacy_client.py ADDRESS MESSAGE_BYTES CLIENT``."""

from __future__ import annotations

import sys

from flwr.client import NumPyClient, start_client
from flwr.common import NDArrays, Scalar

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import Work, saved_work
from benchmarks.updates import num_examples


class Client(NumPyClient):
    """Takes part without training."""

    def __init__(self, work: Work, client: int) -> None:
        self._work = work
        self._client = client

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Return the prepared update once all clients have theirs."""
        enter(self._work, self._client)
        turn = int(config["turn"])
        check(self._work, self._client, turn, parameters)
        update = self._work.update(self._client, turn)
        leave(self._work, self._client)
        return update, num_examples(self._client), {}


def main() -> None:
    """Play one client."""
    address, message_bytes, client = sys.argv[1:]
    start_client(
        server_address=address,
        client=Client(saved_work(), int(client)).to_client(),
        grpc_max_message_length=int(message_bytes),
    )


if __name__ == "__main__":
    main()
