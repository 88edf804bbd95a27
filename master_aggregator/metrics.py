"""What a master counts besides what both aggregators do."""

from __future__ import annotations

from fedtier.metrics import LONG_SECONDS
from fedtier.serving.metrics import AggregatorMetrics


class MasterMetrics(AggregatorMetrics):
    """What a master counts."""

    def __init__(self) -> None:
        super().__init__("master")
        self.fold = self.seconds("fold", "To add an update or a partial to the sum.")
        self.journal_write = self.seconds("journal_write", "To make a group of uploads durable.")
        self.close = self.seconds("close", "To write a closed round's model and record, tries and pauses included.")
        self.publish = self.seconds("publish", "From a written model to the moved head.")
        self.rounds = self.seconds("round", "From a round's opening to its publishing.", LONG_SECONDS)
