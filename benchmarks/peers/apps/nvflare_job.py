"""Starts NVIDIA FLARE's proof-of-concept deployment, server and sites as processes, and submits the job to it.

``nvflare_job.py``
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv

from benchmarks.peers.work import saved_work

_LOGIN_SECONDS = 60.0


def main() -> None:
    """Run the job to its end."""
    work = saved_work()
    opening = Path(work.folder) / "opening.npy"
    np.save(opening, np.concatenate([tensor.reshape(-1) for tensor in work.opening()]))
    recipe = NumpyFedAvgRecipe(
        name="benchmark",
        initial_ckpt=str(opening),
        min_clients=work.clients,
        num_rounds=work.turns,
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
    )
    recipe.execute(PocEnv(num_clients=work.clients, extra={"login_timeout": _LOGIN_SECONDS})).get_result()


if __name__ == "__main__":
    main()
