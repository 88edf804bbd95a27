"""The same work as `benchmarks.round`'s through other systems: Flower, legacy and SuperLink, and NVIDIA FLARE.

``python -m benchmarks.peers compare`` plays all of them in turns, each in a virtual environment of its own, and
writes medians, ranges and the servers' memory as JSON. In go a number of clients, the size of a model and a number
of rounds. `apps` holds the few lines of ours that run inside the other systems, against their public interfaces;
nothing of their code is here.

A client that enters its training with a round's model holds that model. So a round takes from the moment when all
clients have their next update ready, and are let go at once, until the last of them enters its training with the
average of these updates. The definition is the same for every system.
"""
