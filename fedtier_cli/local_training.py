"""``fedtier train``: a local run with clients, watched until the last round is published, then tested."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.task import EvaluatingTask, load_task
from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest, parse_manifest
from fedtier.upstream import Unreachable, Upstream
from fedtier_cli.display import Display
from fedtier_cli.evaluation import RoundScore, published_rounds, score_rounds, write_csv
from fedtier_cli.local import LocalOptions, LocalRun, Surroundings, prepared, start_clients, start_servers
from fedtier_cli.processes import Child, Children, Ended, Event, Fact, RunFailed, status_in_words
from fedtier_cli.progress import Progress, published_facts
from fedtier_cli.seaweed import HOST
from fedtier_cli.tiers import EmbeddedStore, shared_port

_FASTEST_LOOK: Final = 0.1
"""Seconds; faster than a person reads, and slow enough that looking costs the run nothing."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How the user calls programs from here, for the sentences on how to go on.

    Parameters
    ----------
    train : str
        This run's call without its last round.
    evaluate : str
        Without flags.
    """

    train: str
    evaluate: str


def train(options: LocalOptions, last_round: int, surroundings: Surroundings, display: Display, calls: Calls) -> None:
    """Train until a round is published.

    Parameters
    ----------
    options : LocalOptions
    last_round : int
    surroundings : Surroundings
    display : Display
    calls : Calls

    Raises
    ------
    StartupError
        It cannot start.
    RunFailed
        A process ended that should not.
    """
    started = surroundings.clock()
    with prepared(options, surroundings, display) as run:
        if run.newest_round is not None and run.newest_round >= last_round:
            display.note(
                f"round {last_round} is reached already: round {run.newest_round} is the newest published; "
                f"name a later --round to go on"
            )
        else:
            _train(run, last_round, surroundings.clock, display)
            display.step("testing")
            _show_scores(run, display)
            display.note(f"round {last_round} reached in {surroundings.clock() - started:.1f} s")
        display.facts("finished", _where(run, last_round, calls))


def _train(run: LocalRun, last_round: int, clock: Callable[[], float], display: Display) -> None:
    with shared_port(0) as port:
        clients = start_clients(run, f"http://{HOST}:{port}", display)
        watch = _Watch(run, clients, last_round, clock, display)
        master_url, _ = start_servers(run, port, display, watch.see)
        with Upstream(master_url) as upstream:
            watch.until_clients_stop(upstream)
    display.step("stopping the workers and the master")
    for program in ("worker", "master"):
        for child, status in run.children.stop(program).items():
            if status != 0:
                raise child.failure(f"ended {status_in_words(status)} when it was asked to stop")
    newest = run.store.newest_round()
    if newest is None or newest < last_round:
        raise RunFailed(
            f"all clients stopped, but round {newest} is the newest published, not {last_round}; "
            f"the logs in {run.directory.logs} say more"
        )


class _Watch:
    """Follows clients and rounds, and shows them."""

    def __init__(
        self, run: LocalRun, clients: list[Child], last_round: int, clock: Callable[[], float], display: Display
    ) -> None:
        self._children: Children = run.children
        self._store: EmbeddedStore = run.store
        self._clients = len(clients)
        self._running = set(clients)
        self._published = run.newest_round or 0
        self._clock = clock
        self._display = display
        self._progress = Progress(
            [client.name for client in clients],
            last_round=last_round,
            threshold=run.options.tiers.threshold,
            now=clock(),
        )

    def see(self, event: Event) -> None:
        """Take note of what a child did; raise `RunFailed` when it ended and should not."""
        match event:
            case Fact(_, members):
                self._progress.see_fact(members)
            case Ended(child, status) if child in self._running and status == 0:
                self._running.remove(child)
            case Ended(child, status):
                raise child.ended(status)

    def until_clients_stop(self, master: Upstream) -> None:
        """Look at the master again and again until all clients have stopped by themselves."""
        self._require_enough(master)
        look_at = self._clock()
        while self._running:
            if self._clock() >= look_at:
                look_at = self._clock() + self._look(master)
            event = self._children.next_event(look_at - self._clock())
            if event is not None:
                self.see(event)
            self._display.picture(self._progress.picture())
        self._look(master)

    def _require_enough(self, master: Upstream) -> None:
        """Refuse to wait for ever for a round that an earlier call opened for more clients."""
        try:
            status = master.round_status()
        except (Unreachable, Problem) as error:
            raise RunFailed(f"the master does not say which round is open: {error}") from None
        if status.threshold > self._clients:
            raise StartupError(
                f"round {status.round} was opened by an earlier call and closes at {status.threshold} clients, more "
                f"than the {self._clients} there are; call with --clients {status.threshold} until it is published"
            )

    def _look(self, master: Upstream) -> float:
        """Ask the master how the round stands, and return in how many seconds to ask again."""
        self._store.require_alive()
        try:
            status = master.round_status()
            while self._published < status.round - 1:
                manifest = parse_manifest(master.manifest(self._published + 1))
                if isinstance(manifest, RoundManifest):
                    self._display.published(published_facts(manifest))
                self._published += 1
        except (Unreachable, Problem):
            # It may be starting again; when it ends for good, its end is an event.
            return 5 * _FASTEST_LOOK
        self._progress.see_status(status, self._clock())
        return max(status.poll_after, _FASTEST_LOOK)


def _show_scores(run: LocalRun, display: Display) -> None:
    task = load_task(run.options.task, run.data.test)
    if not isinstance(task, EvaluatingTask):
        display.note(f"the task {run.options.task} has no method evaluate, so its models are not tested")
        return
    rounds = published_rounds(run.store.rounds)
    scores: list[RoundScore] = []
    for score in score_rounds(run.store.rounds, rounds, task):
        scores.append(score)
    write_csv(run.directory.path / "evaluation.csv", scores)
    display.scores(scores)


def _where(run: LocalRun, last_round: int, calls: Calls) -> list[tuple[str, str]]:
    """Return where things lie and how to go on."""
    keys, bucket = run.store.rounds.keys, run.store.server.bucket
    folder = shown(run.directory.path)
    return [
        ("models", f"s3://{bucket}/{keys.prefix}/rounds/<round>/model-<sha256>.safetensors"),
        ("manifests", f"s3://{bucket}/{keys.prefix}/rounds/<round>/manifest-<sha256>.json"),
        ("newest model", f"s3://{bucket}/{keys.copy}"),
        ("run directory", folder),
        ("logs", f"{folder}/logs"),
        ("go on", f"{calls.train} --round {max(last_round, run.newest_round or 0) + 2}"),
        ("test again", f"{calls.evaluate} --run-dir {shlex.quote(folder)}"),
    ]


def shown(path: Path) -> str:
    """Return a path as a person at this place would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
