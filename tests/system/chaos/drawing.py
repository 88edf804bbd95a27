"""The faults of a round, drawn from the seed and the round's number alone: what happened before changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tests.system.chaos.scene import CLIENTS, ON_SMALL_DISKS, THRESHOLD, WAYS, WORKERS
from tests.system.faults import (
    DiskFull,
    DiskLost,
    Frozen,
    Herd,
    Killed,
    OnTheWay,
    Rival,
    S3Frozen,
    S3ReplyLost,
    S3Stopped,
    SecondMaster,
    ServingProcessKilled,
    ToldToStop,
    WayCut,
)
from tests.system.mishaps import BodyTruncated, Delayed, Doubled, HeldBack, ReplyLost, Stalled
from tests.system.points import COUNTING, PUBLISHING, SUMMING, TAKING_PART, UPLOADING
from tests.system.strangers import SHOWN, Stranger
from tests.system.tree import Fault
from tests.system.ways import Mishap

_HOW_MANY: Final = (0, 1, 1, 2, 2, 3)

Draw = Callable[[random.Random, int], Fault]


def faults_of(seed: str, round_number: int) -> list[Fault]:
    """Draw the faults of a round."""
    rng = random.Random(f"{seed}:{round_number}")
    draws = rng.choices([draw for draw, _ in _DRAWS], [weight for _, weight in _DRAWS], k=rng.choice(_HOW_MANY))
    return [draw(rng, round_number) for draw in draws]


def _master_killed_at(rng: random.Random, number: int) -> Fault:
    return Killed("master", number, at=rng.choice([*UPLOADING, *COUNTING, *PUBLISHING, *PUBLISHING]))


def _worker_killed_at(rng: random.Random, number: int) -> Fault:
    return Killed(rng.choice(WORKERS), number, at=rng.choice([*UPLOADING, *SUMMING]))


def _client_killed_at(rng: random.Random, number: int) -> Fault:
    return Killed(rng.choice(CLIENTS), number, at=rng.choice(TAKING_PART))


def _killed_anywhere(rng: random.Random, number: int) -> Fault:
    return Killed(rng.choice(["master", *WORKERS, *CLIENTS]), number, after=rng.uniform(0, 1))


def _told_to_stop(rng: random.Random, number: int) -> Fault:
    return ToldToStop(rng.choice(["master", *WORKERS, *CLIENTS]), number)


def _serving_process_killed(rng: random.Random, number: int) -> Fault:
    return ServingProcessKilled(rng.choice(["master", *WORKERS]), number)


def _on_the_way(rng: random.Random, number: int) -> Fault:
    mishaps: list[Mishap] = [
        ReplyLost(),
        BodyTruncated(),
        Doubled(),
        Doubled(later=rng.uniform(0.1, 5)),
        Delayed(rng.uniform(0.1, 3)),
        HeldBack(),
    ]
    return OnTheWay(rng.choice(mishaps), to=rng.choice(WAYS), round=number)


def _stalled(rng: random.Random, number: int) -> Fault:
    return OnTheWay(Stalled(), to=rng.choice(WAYS), round=number)


def _herd(rng: random.Random, number: int) -> Fault:
    return Herd("entrance", number, size=rng.randint(2, THRESHOLD))


def _way_cut(rng: random.Random, number: int) -> Fault:
    return WayCut(rng.choice(WAYS), number, seconds=rng.uniform(0.2, 3))


def _frozen(rng: random.Random, number: int) -> Fault:
    return Frozen(rng.choice(["master", *WORKERS]), number, seconds=rng.uniform(0.2, 4))


def _s3_stopped(rng: random.Random, number: int) -> Fault:
    return S3Stopped(number, seconds=rng.uniform(1, 10))


def _s3_frozen(rng: random.Random, number: int) -> Fault:
    return S3Frozen(number, seconds=rng.uniform(1, 10))


def _s3_reply_lost(rng: random.Random, number: int) -> Fault:
    return S3ReplyLost(number)


def _disk_lost(rng: random.Random, number: int) -> Fault:
    return DiskLost(number)


def _disk_full(rng: random.Random, number: int) -> Fault:
    return DiskFull(rng.choice(ON_SMALL_DISKS), number, seconds=rng.uniform(0.5, 5))


def _second_master(rng: random.Random, number: int) -> Fault:
    return SecondMaster(number)


def _rival(rng: random.Random, number: int) -> Fault:
    return Rival(rng.choice(CLIENTS), "entrance", number)


def _stranger(rng: random.Random, number: int) -> Fault:
    return Stranger(rng.choice(SHOWN), rng.choice(CLIENTS), rng.choice(["master", *WORKERS]), number)


_DRAWS: Final[list[tuple[Draw, float]]] = [
    (_on_the_way, 9),
    (_herd, 4),
    (_master_killed_at, 3),
    (_worker_killed_at, 3),
    (_client_killed_at, 3),
    (_killed_anywhere, 2),
    (_told_to_stop, 2),
    (_rival, 2),
    (_stranger, 2),
    (_stalled, 0.5),
    (_s3_reply_lost, 1),
    (_serving_process_killed, 1),
    (_way_cut, 1),
    (_frozen, 1),
    (_s3_stopped, 0.5),
    (_s3_frozen, 0.5),
    (_disk_lost, 0.5),
    (_disk_full, 1),
    (_second_master, 0.5),
]
