"""The training script of an NVIDIA FLARE site; the site's name, ``site-<number from 1>``, says which client it is."""

from __future__ import annotations

import nvflare.client as flare

from benchmarks.peers.apps.training import enter, next_update
from benchmarks.peers.work import num_examples, saved_work

_KEY = "numpy_key"


def main() -> None:
    """Play one client."""
    flare.init()
    work, client = saved_work(), int(flare.get_site_name().removeprefix("site-")) - 1
    while flare.is_running():
        received = flare.receive()
        enter(work, client)
        update = next_update(work, client, received.current_round + 1, received.params[_KEY])
        flare.send(flare.FLModel(params={_KEY: update}, meta={"NUM_STEPS_CURRENT_ROUND": num_examples(client)}))


if __name__ == "__main__":
    main()
