"""Where the processor time of a round goes: by tier, and within a tier by function or library.

``python -m benchmarks.profiles [--clients 8] [--megabytes 64] [--workers 1] [--rounds 5] [--out FILE]``

Plays rounds as `benchmarks.round` does, without looks at S3's head, while ``perf`` looks 499 times a second at what
each core does. Needs Linux's ``perf``, and the right to watch all processes: root's, or that of everyone where
``kernel.perf_event_paranoid`` is below 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.ending import end_when_told
from benchmarks.federation import Plan, Played, played
from benchmarks.machine import Machine, this_machine
from benchmarks.perf_samples import Spent, spent
from benchmarks.processes import tree
from benchmarks.updates import Outline
from fedtier_cli.rundir import RunDirectory

_HERTZ: Final = 499
_PATIENCE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What rounds of one kind spend their time on.

    Parameters
    ----------
    clients, concurrent, workers : int
        As of `benchmarks.measured.Measured`.
    megabytes : float
        Of the model, in 10**6 bytes.
    seconds : tuple of float
        Of each round, until all clients held its model.
    core_ms : Mapping of str to Mapping of str to float
        Milliseconds of one core per round: by tier, and by what it was doing; ``idle`` is what no process used.
    machine : Machine
    """

    clients: int
    concurrent: int
    workers: int
    megabytes: float
    seconds: tuple[float, ...]
    core_ms: dict[str, dict[str, float]]
    machine: Machine


class PerfUnusableError(Exception):
    """``perf`` does not record; says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if min(options.clients, options.workers, options.rounds) < 1 or options.megabytes <= 0:
        parser.error("one client, worker and round at least, and more than 0 megabytes")
    if shutil.which("perf") is None:
        print("there is no perf on this machine: install that of its kernel", file=sys.stderr)
        return 1
    concurrent = min(options.concurrent or options.clients, options.clients)
    plan = Plan(options.clients, concurrent, Outline.of_megabytes(options.megabytes), options.workers)
    try:
        profile = measure(plan, options.megabytes, options.rounds)
    except PerfUnusableError as error:
        print(f"perf cannot watch all processes: {error}", file=sys.stderr)
        return 1
    if options.out is not None:
        options.out.write_text(json.dumps(asdict(profile), indent=1) + "\n")
    print("\n".join(_lines(profile)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Where the processor time of a round goes.")
    parser.add_argument("--clients", type=int, default=8, help="updates per round (default 8)")
    parser.add_argument("--concurrent", type=int, help="client processes; fewer than clients: they take turns")
    parser.add_argument("--megabytes", type=float, default=64, help="float32 in a model, in 10**6 bytes (default 64)")
    parser.add_argument("--workers", type=int, default=1, help="worker aggregators on one port (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are watched, after one that warms up")
    parser.add_argument("--out", type=Path, help="write a JSON object to a file, too")
    return parser


def measure(plan: Plan, megabytes: float, rounds: int) -> Profile:
    """Play rounds, watched by ``perf``.

    Raises
    ------
    PerfUnusableError
    """
    with (
        tempfile.TemporaryDirectory(prefix="fedtier-profile-") as place,
        played(plan, RunDirectory(Path(place))) as federation,
    ):
        recording = Path(place) / "perf.data"
        _round_seconds(federation)
        federation.await_arrivals(_PATIENCE)
        tiers = {pid: tier for tier, pids in federation.tiers.items() for root in pids for pid in tree(root)}
        with _recorded(recording):
            seconds = tuple(_round_seconds(federation) for _ in range(rounds))
        samples = spent(_script(recording), tiers)
        machine = this_machine(Path(place))
    core_ms = _core_ms(samples, rounds)
    return Profile(plan.clients, plan.processes, plan.workers, megabytes, seconds, core_ms, machine)


def _round_seconds(federation: Played) -> float:
    federation.await_arrivals(_PATIENCE)
    released = federation.release()
    return round(federation.await_arrivals(_PATIENCE) - released, 4)


@contextmanager
def _recorded(path: Path) -> Iterator[None]:
    """Have ``perf`` record; the block begins when it does."""
    orders_read, orders = os.pipe()
    answers, answers_written = os.pipe()
    words = ["perf", "record", "--quiet", "--all-cpus", "--freq", str(_HERTZ), "--output", str(path)]
    words += ["--delay", "-1", "--control", f"fd:{orders_read},{answers_written}"]
    with ExitStack() as closing:
        for descriptor in (orders, answers):
            closing.callback(os.close, descriptor)
        perf = closing.enter_context(
            subprocess.Popen(words, stderr=subprocess.PIPE, text=True, pass_fds=(orders_read, answers_written))
        )
        for descriptor in (orders_read, answers_written):
            os.close(descriptor)
        try:
            with suppress(BrokenPipeError):
                os.write(orders, b"enable\n")
            if not os.read(answers, 64):  # it has ended
                raise PerfUnusableError(perf.communicate()[1].strip())
            yield
        finally:
            perf.send_signal(signal.SIGINT)


def _script(path: Path) -> list[str]:
    words = ["perf", "script", "--input", str(path), "--fields", "pid,ip,sym,dso"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()


def _core_ms(samples: Spent, rounds: int) -> dict[str, dict[str, float]]:
    return {
        tier: {what: round(1000 * count / _HERTZ / rounds, 2) for what, count in parts.items()}
        for tier, parts in samples.items()
    }


def _lines(profile: Profile) -> Iterator[str]:
    yield f"{profile.clients} clients of {profile.megabytes:g} MB, {profile.workers} workers: seconds {profile.seconds}"
    for tier, parts in sorted(profile.core_ms.items(), key=lambda item: -sum(item[1].values())):
        yield f"{tier:8s} {sum(parts.values()):8.1f} core-ms per round"
        for what in list(parts)[:10]:
            yield f"{parts[what]:17.1f} {what}"


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
