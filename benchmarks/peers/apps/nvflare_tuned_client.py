"""The training script of a site of the tuned deployment; ``site-<number from 1>`` says which client it is."""

from __future__ import annotations

import nvflare.client as flare

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import saved_work
from benchmarks.updates import num_examples


def main() -> None:
    """Play one client."""
    flare.init()
    work, client = saved_work(), int(flare.get_site_name().removeprefix("site-")) - 1
    names = list(work.outline.shapes())
    while flare.is_running():
        received = flare.receive()
        if received is None:  # the job has ended
            return
        enter(work, client)
        turn = received.current_round + 1
        check(work, client, turn, [received.params[name] for name in names])
        update = dict(zip(names, work.update(client, turn), strict=True))
        leave(work, client)
        flare.send(flare.FLModel(params=update, meta={"NUM_STEPS_CURRENT_ROUND": num_examples(client)}))


if __name__ == "__main__":
    main()
