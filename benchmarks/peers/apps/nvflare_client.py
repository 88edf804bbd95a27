"""The training script of an NVIDIA FLARE site; the site's name, ``site-<number from 1>``, says which client it is.

The recipe for NumPy saves one array, so the model is one, of all tensors one after the other: the same bytes.
"""

from __future__ import annotations

import numpy as np
import nvflare.client as flare

from benchmarks.peers.apps.training import check, enter, leave
from benchmarks.peers.work import saved_work
from benchmarks.updates import num_examples

_KEY = "numpy_key"


def main() -> None:
    """Play one client."""
    flare.init()
    work, client = saved_work(), int(flare.get_site_name().removeprefix("site-")) - 1
    while flare.is_running():
        received = flare.receive()
        enter(work, client)
        turn = received.current_round + 1
        check(work, client, turn, [received.params[_KEY]])
        update = np.concatenate([tensor.reshape(-1) for tensor in work.update(client, turn)])
        leave(work, client)
        flare.send(flare.FLModel(params={_KEY: update}, meta={"NUM_STEPS_CURRENT_ROUND": num_examples(client)}))


if __name__ == "__main__":
    main()
