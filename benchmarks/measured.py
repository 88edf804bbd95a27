"""What a benchmark of rounds measured: one JSON document, written by `benchmarks.round` and read by the report."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.machine import Machine

AGGREGATORS: Final = ("master", "worker")
"""Tiers whose processes are ours, apart from the clients."""
SERVERS: Final = (*AGGREGATORS, "s3")


@dataclass(frozen=True, slots=True)
class Round:
    """One counted round; seconds since its clients were let go.

    Parameters
    ----------
    round : int
    saved_seconds : float or None
        Until the first client had its update on disk, and began to send it; None where that was not seen.
    counted_seconds : float
        Until the master had all updates and closed the round, as its manifest says.
    commit_seconds : float or None
        Until S3's head named the round; None where nobody looked at it.
    held_seconds : float or None
        Until the last client held the round's model. None where clients take turns, for they do not all wait then, and
        where the looks at the head would be in it, though other rounds of the run are without.
    """

    round: int
    saved_seconds: float | None
    counted_seconds: float
    commit_seconds: float | None
    held_seconds: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """One federation, from its start to its end.

    Parameters
    ----------
    rounds : tuple of Round
        Those that count.
    cpu_seconds : Mapping of str to float
        Of each tier, over the counted rounds; where some of them are without looks at the head, over these.
    cpu_seconds_per_gigabyte : Mapping of str to float
        The same per 10**9 bytes of updates.
    peak_pss_megabytes : Mapping of str to float
        Of each tier, and of ``aggregators`` (master and workers) and ``servers`` (with S3) together at one moment.
    high_water_megabytes : Mapping of str to float
        VmHWM, summed over the processes of a tier.
    server_memory_samples, client_memory_samples : int
        How often the servers, and the clients, were looked at for that peak.
    model_sha256 : tuple of str
        Of all rounds, the first included.
    exact : bool
        Whether these are those of the reference.
    loopback_gigabytes_per_second : tuple of float
        What one loopback connection carried before the run, and after it.
    """

    rounds: tuple[Round, ...]
    cpu_seconds: Mapping[str, float]
    cpu_seconds_per_gigabyte: Mapping[str, float]
    peak_pss_megabytes: Mapping[str, float]
    high_water_megabytes: Mapping[str, float]
    server_memory_samples: int
    client_memory_samples: int
    model_sha256: tuple[str, ...]
    exact: bool
    loopback_gigabytes_per_second: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was asked for, the machine, and every repeat.

    Parameters
    ----------
    clients : int
        Updates per round.
    concurrent : int
        Processes that play the clients, which is how many updates there are at once.
    megabytes : float
        Of the model as float32, in 10**6 bytes.
    update_bytes : int
        Of the tensors that one client sends in a round.
    workers : int
    upload_dtype : str
        As which the layers are sent.
    state : {"disk", "memory"}
        Where all state lay, of servers, S3 and clients.
    machine : Machine
    runs : tuple of Run
        One per repeat.
    filesystem : str
        The type of the file system on which it lay.
    """

    clients: int
    concurrent: int
    megabytes: float
    update_bytes: int
    workers: int
    upload_dtype: str
    state: Literal["disk", "memory"]
    machine: Machine
    runs: tuple[Run, ...]
    filesystem: str

    @property
    def rounds(self) -> tuple[Round, ...]:
        """All counted rounds of all repeats."""
        return tuple(one for run in self.runs for one in run.rounds)

    @property
    def exact(self) -> bool:
        """Whether every round's model was the one of the definition."""
        return all(run.exact for run in self.runs)

    @property
    def commit_seconds(self) -> float | None:
        """The median; None where nobody looked at the head."""
        return _median(one.commit_seconds for one in self.rounds)

    @property
    def held_seconds(self) -> float | None:
        """The median; None where clients took turns."""
        return _median(one.held_seconds for one in self.rounds)

    @property
    def looked(self) -> bool:
        """Whether S3's head was looked at in rounds of which is known when they were held."""
        return any(one.commit_seconds is not None and one.held_seconds is not None for one in self.rounds)

    @property
    def ingest_over_loopback(self) -> float | None:
        """Bytes of a round's updates per second until it was committed, over what one loopback connection carries.

        The ratio is made within each repeat; this is the median.
        """
        sent = self.clients * self.update_bytes / 1e9
        return _median(_over_loopback(run, sent) for run in self.runs)

    @property
    def loopback_gigabytes_per_second(self) -> float:
        """What one loopback connection carried around the repeats, the median."""
        return statistics.median(statistics.mean(run.loopback_gigabytes_per_second) for run in self.runs)

    def peak_pss_megabytes(self, tier: str) -> float:
        """Return the largest of all repeats."""
        return max(run.peak_pss_megabytes[tier] for run in self.runs)

    def high_water_megabytes(self, *tiers: str) -> float:
        """Return the sum over some tiers, the largest of all repeats: more than they had at any one moment."""
        return max(sum(run.high_water_megabytes[tier] for tier in tiers) for run in self.runs)

    @property
    def server_memory_samples(self) -> int:
        """The fewest of all repeats."""
        return min(run.server_memory_samples for run in self.runs)

    def cpu_seconds_per_gigabyte(self, tier: str) -> float | None:
        """Return the median of all repeats; None for what is no tier."""
        found = [run.cpu_seconds_per_gigabyte[tier] for run in self.runs if tier in run.cpu_seconds_per_gigabyte]
        return statistics.median(found) if found else None


def _over_loopback(run: Run, sent: float) -> float | None:
    seconds = _median(one.commit_seconds for one in run.rounds)
    return None if seconds is None else sent / seconds / statistics.mean(run.loopback_gigabytes_per_second)


def _median(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def summary(measured: Measured) -> str:
    """Return the medians, to be read."""
    return "\n".join(_summary_lines(measured))


def _summary_lines(measured: Measured) -> Iterator[str]:
    where = f"on {measured.filesystem}" if measured.state == "disk" else "in memory"
    yield (
        f"{measured.clients} clients ({measured.concurrent} at once), {measured.megabytes:g} MB as "
        f"{measured.upload_dtype}, {measured.workers} workers, state {where}, {len(measured.rounds)} rounds"
    )
    if measured.commit_seconds is not None:
        yield (
            f"commit   {measured.commit_seconds:8.3f} s   all updates ready, to the round in S3; "
            f"{measured.ingest_over_loopback:.2f} of loopback ({measured.loopback_gigabytes_per_second:.2f} GB/s)"
        )
    if measured.held_seconds is not None:
        yield f"held     {measured.held_seconds:8.3f} s   to all clients holding its model"
    for tier in measured.runs[0].peak_pss_megabytes:
        cpu = measured.cpu_seconds_per_gigabyte(tier)
        spent = "" if cpu is None else f"{cpu:8.2f} CPU s/GB"
        yield f"{tier:12s} {measured.peak_pss_megabytes(tier):8.1f} MB PSS at most {spent}"
    yield "exact    " + ("every round" if measured.exact else "NO")
