"""``python -m client`` is ``fedtier client``."""

from client.command import client

client(prog_name="fedtier client")
