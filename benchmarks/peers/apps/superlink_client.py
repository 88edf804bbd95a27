"""The ClientApp that SuperNodes run; a SuperNode's configuration says which client it is."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.peers.apps.training import enter, next_update
from benchmarks.peers.work import num_examples, saved_work

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the prepared update once all clients have theirs."""
    work, client = saved_work(), int(context.node_config["client"])
    enter(work, client)
    model = message.content["arrays"].to_numpy_ndarrays()[0]
    update = next_update(work, client, int(message.content["config"]["server-round"]), model)
    metrics = MetricRecord({"num-examples": num_examples(client)})
    return Message(RecordDict({"arrays": ArrayRecord([update]), "metrics": metrics}), reply_to=message)
