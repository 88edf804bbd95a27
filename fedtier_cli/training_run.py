"""What every training run is, on this machine or on others: what it was told, its folder, its data and its rounds."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.datasets.partition import Partition
from fedtier_cli.client_data import ClientData
from fedtier_cli.processes import Children
from fedtier_cli.run_store import RunStore
from fedtier_cli.rundir import RunDirectory
from fedtier_cli.tiers import TierSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run is told at its start.

    Parameters
    ----------
    tiers : TierSettings
    clients : int
    seed : int
        Of the split, the initial model, the sampling and the clients' training.
    partition : Partition
        How a built-in data set is split.
    data_dir : Path or None
        See `fedtier_cli.client_data`.
    rows : tuple of str
        Files or URLs of the tabular data set.
    run_dir : Path or None
        By default the run's usual one.
    """

    tiers: TierSettings
    clients: int
    seed: int
    partition: Partition
    data_dir: Path | None
    rows: tuple[str, ...]
    run_dir: Path | None

    @property
    def task(self) -> str:
        """The task, as `client.task.load_task` takes it."""
        return self.tiers.task


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run takes from outside.

    Parameters
    ----------
    home : Path
        Under which run directories and cached data lie.
    environment : Mapping of str to str
    clock : callable
        Monotonic seconds.
    now : callable
        The time, with a time zone.
    """

    home: Path
    environment: Mapping[str, str]
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(ABC):
    """A claimed run directory with its data, its rounds, and room for processes."""

    options: RunOptions
    directory: RunDirectory
    data: ClientData
    store: RunStore
    children: Children
    newest_round: int | None
    """The newest published round when the run started; None where nothing is published."""
    is_testable: bool
    """Whether the task can say how good a model is."""

    @property
    @abstractmethod
    def is_elsewhere(self) -> bool:
        """Whether the run took another directory than its usual one, without being told to."""

    @abstractmethod
    def scalars(self, tensorboard: str) -> list[tuple[str, str]]:
        """Return how to look at what the master writes for TensorBoard, where it can be looked at.

        Parameters
        ----------
        tensorboard : str
            How the program is called.
        """
