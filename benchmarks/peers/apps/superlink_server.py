"""The ServerApp as Flower's documentation has it: its own FedAvg over the run's rounds."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.peers.work import saved_work

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play all rounds."""
    work = saved_work()
    strategy = FedAvg(
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=work.clients,
        min_available_nodes=work.clients,
    )
    strategy.start(grid=grid, initial_arrays=ArrayRecord(work.opening()), num_rounds=work.turns)
