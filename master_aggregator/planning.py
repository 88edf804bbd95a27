"""How a round is opened: its plan, from the federation's rules and the model it starts from."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fedtier.kinds import TensorPlan, plan_tensor
from fedtier.problems import NotSafetensors, OutOfRange, StartupError
from fedtier.rounds import BaseRound, ClientSettings, RoundPlan
from fedtier.tensors import TensorFile

_LEAST_RATE: Final = sys.float_info.min
"""The smallest normal float; below it a learning rate would lose digits and end at 0, which no round may have."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator fixed for every round that is opened from now on.

    Parameters
    ----------
    threshold : int or None
        Contributors at which a round closes; None is the size of the cohort.
    min_clients : int
        Contributors that a round needs at its deadline.
    deadline : float or None
        Seconds from opening to deadline.
    weight_limit : int
        The most examples a round counts.
    batch_max : int
        Contributors that may arrive together beyond the threshold.
    final_round : int or None
        The last round.
    clients : int or None
        How many clients there are, ``client-0`` ...; None where anyone takes part.
    fraction : float
        The part of them that a round selects.
    seed : int
        Of the selection.
    client : ClientSettings
        How clients train in round 1.
    lr_decay : float
        In (0, 1]: each round's learning rate is that of the round before times this.
    """

    threshold: int | None
    min_clients: int
    deadline: float | None
    weight_limit: int
    batch_max: int
    final_round: int | None
    clients: int | None
    fraction: float
    seed: int
    client: ClientSettings
    lr_decay: float = 1.0

    @property
    def cohort_size(self) -> int | None:
        """How many clients a round selects; None for anyone."""
        return None if self.clients is None else cohort_size(self.clients, self.fraction)

    def cohort(self, round_number: int) -> tuple[str, ...] | None:
        """Return the clients selected for a round, sorted by number."""
        size = self.cohort_size
        if self.clients is None or size is None:
            return None
        # A string seeds through SHA-512, the same in every process and version. Who knows the seed knows the cohorts:
        # they are to be repeated, and guard nothing.
        chosen = random.Random(f"{self.seed}:{round_number}").sample(range(self.clients), size)  # nosec B311 # noqa: S311
        return tuple(f"client-{number}" for number in sorted(chosen))

    def client_settings(self, round_number: int) -> ClientSettings:
        """Return how clients train in a round: the learning rate is ``lr * lr_decay ** (round_number - 1)``."""
        decayed = self.client.lr * self.lr_decay ** (round_number - 1)
        return self.client.model_copy(update={"lr": max(decayed, min(self.client.lr, _LEAST_RATE))})


def cohort_size(clients: int, fraction: float) -> int:
    """Return how many of so many clients a round selects: max(C*K, 1) (McMahan et al. 2017, algorithm 1)."""
    return max(round(fraction * clients), 1)


def plan_tensors(model: Path, weight_limit: int) -> tuple[TensorPlan, ...]:
    """Choose kind and exponent of every tensor of a model.

    Raises
    ------
    NotSafetensors, OutOfRange, NotFinite
        The model cannot be summed exactly.
    """
    file = TensorFile(model)
    return tuple(plan_tensor(spec, file.values(spec.name), weight_limit) for spec in file.header.specs)


def plan_round(
    rules: Rules, *, base: BaseRound, attempt: int, tensors: tuple[TensorPlan, ...], now: datetime
) -> RoundPlan:
    """Open the round after `base`.

    Parameters
    ----------
    rules : Rules
    base : BaseRound
        The newest published round.
    attempt : int
        The attempt that head names.
    tensors : tuple of TensorPlan
        Of the base's model.
    now : datetime
    """
    round_number = base.round + 1
    cohort = rules.cohort(round_number)
    threshold = rules.threshold or (len(cohort) if cohort else 1)
    return RoundPlan(
        round=round_number,
        attempt=attempt,
        base=base,
        tensors=tensors,
        weight_limit=rules.weight_limit,
        max_examples=max(rules.weight_limit // (threshold + rules.batch_max), 1),
        threshold=threshold,
        min_clients=rules.min_clients,
        deadline=None if rules.deadline is None else now + timedelta(seconds=rules.deadline),
        cohort=cohort,
        final_round=rules.final_round,
        client=rules.client_settings(round_number),
    )


def require_summable(model: Path, weight_limit: int) -> None:
    """Check at start that a model can open a round.

    Raises
    ------
    StartupError
    """
    try:
        tensors = plan_tensors(model, weight_limit)
    except OSError as error:
        raise StartupError(f"the model {model} cannot be read ({error.strerror}); name a file that can") from None
    except NotSafetensors as problem:
        raise StartupError(f"the model {model} is {problem.detail}; name a safetensors file") from None
    except OutOfRange as problem:
        raise StartupError(f"the model {model} cannot be aggregated: {problem.detail}") from None
    if not any(tensor.sum_length for tensor in tensors):
        raise StartupError(f"the model {model} has no values to train")
