"""The ClientApp that SuperNodes run; a SuperNode's configuration says which client it is."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import saved_work
from benchmarks.updates import num_examples

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the prepared update once all clients have theirs."""
    work, client = saved_work(), int(context.node_config["client"])
    enter(work, client)
    turn = int(message.content["config"]["server-round"])
    check(work, client, turn, message.content["arrays"].to_numpy_ndarrays())
    update = work.update(client, turn)
    leave(work, client)
    metrics = MetricRecord({"num-examples": num_examples(client)})
    return Message(RecordDict({"arrays": ArrayRecord(update), "metrics": metrics}), reply_to=message)
