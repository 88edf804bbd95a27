"""A ServerApp that asks for replies often, adds each one up as it comes, and keeps none."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from benchmarks.peers.work import Float32, saved_work

_POLL_SECONDS = 0.05

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play all rounds."""
    work = saved_work()
    model: Float32 = np.load(work.initial)
    nodes = _nodes(grid, work.clients)
    for turn in range(1, work.turns + 1):
        record = RecordDict({"arrays": ArrayRecord([model]), "config": ConfigRecord({"server-round": turn})})
        sent = grid.push_messages([Message(record, node, "train") for node in nodes])
        del record
        model = _mean(grid, sent, model)


def _nodes(grid: Grid, clients: int) -> list[int]:
    """Return the nodes once all have come."""
    while len(nodes := list(grid.get_node_ids())) < clients:
        time.sleep(_POLL_SECONDS)
    return nodes


def _mean(grid: Grid, sent: Iterable[str], model: Float32) -> Float32:
    """Return the average of the replies by number of examples."""
    waiting = set(sent)
    total, scaled, weight = np.zeros_like(model), np.empty_like(model), 0
    while waiting:
        replies = list(grid.pull_messages(waiting))
        while replies:
            reply = replies.pop()
            waiting.discard(reply.metadata.reply_to_message_id)
            examples = int(reply.content["metrics"]["num-examples"])
            np.multiply(reply.content["arrays"].to_numpy_ndarrays()[0], np.float32(examples), out=scaled)
            np.add(total, scaled, out=total)
            weight += examples
        if waiting:
            time.sleep(_POLL_SECONDS)
    np.divide(total, np.float32(weight), out=total)
    return total
