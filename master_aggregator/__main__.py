"""``python -m master_aggregator`` is ``fedtier master``."""

from master_aggregator.command import master

master(prog_name="fedtier master")
