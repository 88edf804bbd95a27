"""A client of no system at all, which takes the averages from the run's own folder: ``toy_client.py CLIENT FAULT``."""

import sys
import threading

import numpy as np

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import saved_work
from benchmarks.updates import num_examples


def main() -> None:
    client, fault = int(sys.argv[1]), sys.argv[2]
    work = saved_work()
    clients = range(work.clients)
    model = work.opening()
    for turn in range(1, work.turns + 1):
        if fault == "ends" and turn == 2:
            sys.exit("no more memory")
        if fault == "stays away" and turn == 2:
            threading.Event().wait()
        enter(work, client)
        check(work, client, turn, model)
        update = work.update(client, turn)
        leave(work, client)
        updates = [work.update(other, turn) if other != client else update for other in clients]
        weights = [float(num_examples(other)) for other in clients]
        model = [np.average(tensors, axis=0, weights=weights) for tensors in zip(*updates, strict=True)]
        if fault == "forgets weights":
            model = [np.mean(tensors, axis=0) for tensors in zip(*updates, strict=True)]


if __name__ == "__main__":
    main()
