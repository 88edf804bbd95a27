"""A ServerApp that asks for replies often, adds each one up as it comes, and keeps none."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from benchmarks.peers.apps.summing import WeightedSum
from benchmarks.peers.work import saved_work
from benchmarks.updates import Floats

_POLL_SECONDS = 0.1

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play all rounds."""
    work = saved_work()
    model = work.opening()
    nodes = _nodes(grid, work.clients)
    for turn in range(1, work.turns + 1):
        record = RecordDict({"arrays": ArrayRecord(model), "config": ConfigRecord({"server-round": turn})})
        sent = grid.push_messages([Message(record, node, "train") for node in nodes])
        del record
        model = _mean(grid, sent, model)


def _nodes(grid: Grid, clients: int) -> list[int]:
    """Return the nodes once all have come."""
    while len(nodes := list(grid.get_node_ids())) < clients:
        time.sleep(_POLL_SECONDS)
    return nodes


def _mean(grid: Grid, sent: Iterable[str], model: list[Floats]) -> list[Floats]:
    """Return the average of the replies by number of examples."""
    waiting = set(sent)
    total = WeightedSum([tensor.size for tensor in model])
    while waiting:
        replies = list(grid.pull_messages(waiting))
        while replies:
            reply = replies.pop()
            waiting.discard(reply.metadata.reply_to_message_id)
            examples = int(reply.content["metrics"]["num-examples"])
            total.add((array.numpy() for array in reply.content["arrays"].values()), examples)
        if waiting:
            time.sleep(_POLL_SECONDS)
    return total.mean()
