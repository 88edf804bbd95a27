"""A client of the tuned legacy server: ``flower_legacy_tuned_client.py ADDRESS MESSAGE_BYTES CLIENT``.

Tensors travel as their bare bytes, which neither side has to pack or unpack.
"""

from __future__ import annotations

import sys

import numpy as np
from flwr.client import Client, start_client
from flwr.common import Code, FitIns, FitRes, Parameters, Status

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import Work, saved_work
from benchmarks.updates import num_examples


class BareClient(Client):
    """Takes part without training."""

    def __init__(self, work: Work, client: int) -> None:
        self._work = work
        self._client = client

    def fit(self, ins: FitIns) -> FitRes:
        """Return the prepared update once all clients have theirs."""
        enter(self._work, self._client)
        turn = int(ins.config["turn"])
        check(self._work, self._client, turn, [np.frombuffer(each, np.float32) for each in ins.parameters.tensors])
        update = [tensor.tobytes() for tensor in self._work.update(self._client, turn)]
        leave(self._work, self._client)
        return FitRes(Status(Code.OK, ""), Parameters(update, "float32"), num_examples(self._client), {})


def main() -> None:
    """Play one client."""
    address, message_bytes, client = sys.argv[1:]
    start_client(
        server_address=address,
        client=BareClient(saved_work(), int(client)),
        grpc_max_message_length=int(message_bytes),
    )


if __name__ == "__main__":
    main()
