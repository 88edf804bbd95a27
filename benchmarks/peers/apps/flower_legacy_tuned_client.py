"""A client of the tuned legacy server: ``flower_legacy_tuned_client.py ADDRESS MESSAGE_BYTES CLIENT``."""

from __future__ import annotations

import sys

from flwr.client import Client, start_client
from flwr.common import Code, FitIns, FitRes, Status

from benchmarks.peers.apps.flower_raw import packed, unpacked
from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import Work, saved_work
from benchmarks.updates import num_examples


class Raw(Client):
    """Takes part without training, its tensors as their bare bytes."""

    def __init__(self, work: Work, client: int) -> None:
        self._work = work
        self._client = client

    def fit(self, ins: FitIns) -> FitRes:
        """Return the prepared update once all clients have theirs."""
        enter(self._work, self._client)
        turn = int(ins.config["turn"])
        check(self._work, self._client, turn, unpacked(self._work, ins.parameters))
        update = self._work.update(self._client, turn)
        leave(self._work, self._client)
        return FitRes(Status(Code.OK, ""), packed(update), num_examples(self._client), {})


def main() -> None:
    """Play one client."""
    address, message_bytes, client = sys.argv[1:]
    start_client(
        server_address=address, client=Raw(saved_work(), int(client)), grpc_max_message_length=int(message_bytes)
    )


if __name__ == "__main__":
    main()
