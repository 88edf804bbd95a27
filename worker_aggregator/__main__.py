"""``python -m worker_aggregator`` is ``fedtier worker``."""

from worker_aggregator.command import worker

worker(prog_name="fedtier worker")
