"""The thread that writes TensorBoard's file: each published round once, and its evaluation once somebody tested it.

The file itself says what stands in it, and S3 what there is to write. So a round that was published and not written,
because the process was killed in between or its disk is another, is written by the next process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fedtier.problems import Problem
from fedtier.rounds import RoundManifest, parse_manifest
from fedtier.store import PublishedRound, RoundStore, StoreCorrupt, StoreUnavailable
from master_aggregator.event_records import Models, Stamp, evaluation_record, round_record
from master_aggregator.events_file import EventsFile
from master_aggregator.lookout import Lookout, next_look
from master_aggregator.summaries import Scalars, Witnessed, evaluation_scalars, round_scalars

_KEPT_NEWS: Final = 100
"""Rounds that are held in memory while the disk takes nothing; S3 has the others."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between two looks at S3 or at a disk that failed; each is twice the one before."""

    first: float = 2.0
    longest: float = 60.0


class _Stopped(Exception):
    """What goes on would take longer than the process has left."""


class Scoreboard:
    """Keeps a folder's event file complete.

    Parameters
    ----------
    store : RoundStore
    folder : Path
        For TensorBoard's ``--logdir``.
    pauses : Pauses
    """

    def __init__(self, store: RoundStore, folder: Path, pauses: Pauses | None = None) -> None:
        self._store = store
        self._folder = folder
        self._pauses = pauses or Pauses()
        self._pause = self._pauses.first
        self._next_look = time.monotonic()
        self._news_since: float | None = None
        self._news: dict[int, tuple[RoundManifest, Witnessed]] = {}
        self._changed = threading.Condition()
        self._ending = False
        self._out_of_time = False
        self._thread = threading.Thread(target=self._run, name="scoreboard", daemon=True)
        self._file: EventsFile | None = None
        self._is_complete = False
        self._lookout = Lookout()
        self._trouble: str | None = None
        self._log = structlog.get_logger().bind(tensorboard=str(folder))

    def start(self) -> None:
        """Start the thread; it begins with what was published before."""
        self._thread.start()

    def published(self, manifest: RoundManifest, witnessed: Witnessed) -> None:
        """Have a round written; returns at once."""
        with self._changed:
            self._news[manifest.round] = manifest, witnessed
            while len(self._news) > _KEPT_NEWS:
                del self._news[min(self._news)]
            self._changed.notify()

    def stop(self, within: float) -> None:
        """Write what there is by now, look for evaluations once more, and end the thread.

        Parameters
        ----------
        within : float
            Seconds. What is not done by then is done by the next process.
        """
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(within)
        self._out_of_time = True

    def _run(self) -> None:
        while not self._ending:
            wait = self._attempt()
            with self._changed:
                self._changed.wait_for(self._is_called, wait)
        self._attempt()
        if self._file is not None:
            with suppress(OSError):  # which would end the process as if it had failed
                self._file.close()

    def _is_called(self) -> bool:
        return self._ending or (bool(self._news) and self._trouble is None)

    def _attempt(self) -> float | None:
        """Do what there is to do; return after how many seconds to look again, or None until there is news."""
        try:
            self._bring_up_to_date(self._opened())
        except _Stopped:
            return None
        except Exception as error:  # of whatever kind: a round is worth more than its picture
            self._fail(error)
            return self._next_pause()
        self._trouble = None
        return max(self._next_look - time.monotonic(), 0.0) if self._lookout.pending else None

    def _bring_up_to_date(self, file: EventsFile) -> None:
        """Write rounds at once, and look for evaluations when it is time: seldom while rounds follow each other."""
        if self._write_rounds(file):
            self._pause = self._pauses.first
            self._put_look_off(time.monotonic())
        if self._ending or time.monotonic() >= self._next_look:
            if self._write_evaluations(file):
                self._pause = self._pauses.first
            self._news_since = None
            self._next_look = time.monotonic() + self._next_pause()

    def _put_look_off(self, now: float) -> None:
        if self._next_look > now:  # else it is due: a process that starts looks at once
            self._news_since = now if self._news_since is None else self._news_since
            self._next_look = next_look(now, self._news_since, self._pause)

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(2 * self._pause, self._pauses.longest)
        return pause

    def _fail(self, error: Exception) -> None:
        """Say what is wrong, once for each reason; S3 is asked anew what there is to write."""
        foreseen = isinstance(error, OSError | StoreUnavailable | StoreCorrupt | Problem)
        if self._trouble != str(error):
            self._log.warning(
                "the TensorBoard file waits; training goes on", reason=str(error), exc_info=None if foreseen else error
            )
        if self._trouble is None:
            self._pause = self._pauses.first
        self._trouble = str(error)
        self._is_complete = False

    # Rounds.

    def _write_rounds(self, file: EventsFile) -> bool:
        with self._changed:
            news, self._news = self._news, {}
        wrote = False
        try:
            for manifest, witnessed in self._in_order(file, news):
                self._write(file, manifest, witnessed)
                wrote = True
        except BaseException:
            with self._changed:
                self._news = news | self._news
            raise
        self._is_complete = True
        return wrote

    def _in_order(
        self, file: EventsFile, news: Mapping[int, tuple[RoundManifest, Witnessed]]
    ) -> Iterator[tuple[RoundManifest, Witnessed | None]]:
        """Yield the rounds that are to be written: from the news alone where they go on after the file's newest."""
        fresh = sorted(number for number in news if number > file.newest_round)
        if not self._is_complete or fresh != list(range(file.newest_round + 1, file.newest_round + 1 + len(fresh))):
            for number, manifest_sha256 in self._unwritten(file):
                yield news[number] if number in news else (self._manifest(number, manifest_sha256), None)
        yield from (news[number] for number in fresh if number > file.newest_round)

    def _opened(self) -> EventsFile:
        """Return the file, anew where somebody removed or changed it."""
        if self._file is not None and self._file.is_intact():
            return self._file
        gone, self._file = self._file, None
        if gone is not None:
            gone.close()
        self._is_complete = False
        self._file = EventsFile(self._folder)
        self._lookout, self._next_look = Lookout(), time.monotonic()
        for stamp in self._file.stamps:
            if stamp.kind == "round":
                self._watch_for(stamp)
            elif stamp.kind == "evaluation":
                self._lookout.done(stamp.round)
        return self._file

    def _unwritten(self, file: EventsFile) -> list[tuple[int, str]]:
        """Return the published rounds that are missing in the file, oldest first, with their manifests' digests.

        A file that tells of other rounds than S3 is of another federation, and is set aside.
        """
        missing: list[tuple[int, str]] = []
        for published in self._store.history():
            self._require_time()
            if not _agree(file, published):
                file.set_aside(f"its round {file.newest_round} is not the one in S3")
                self._lookout = Lookout()
            if published.round == file.newest_round:
                break
            missing.append((published.round, published.manifest_sha256))
        return missing[::-1]

    def _manifest(self, number: int, sha256: str) -> RoundManifest:
        """Read a manifest a second time: all of them at once would take more memory than a long training has."""
        self._require_time()
        manifest = parse_manifest(self._store.read_manifest(number, sha256))
        assert isinstance(manifest, RoundManifest), "only the initial model's is another"
        return manifest

    def _write(self, file: EventsFile, manifest: RoundManifest, witnessed: Witnessed | None) -> None:
        scalars = round_scalars(manifest, witnessed)
        models = Models(manifest.model.sha256, manifest.base.sha256)
        file.add([round_record(manifest.round, manifest.published_at.timestamp(), models, scalars.values)])
        self._say_left_out(manifest.round, scalars)
        self._watch_for(file.round_stamp(manifest.round))

    def _say_left_out(self, number: int, scalars: Scalars) -> None:
        if scalars.left_out:
            self._log.warning("too many values for TensorBoard", round=number, left_out=scalars.left_out)

    # Evaluations.

    def _watch_for(self, stamp: Stamp) -> None:
        models = _models(stamp)
        if stamp.round == 1:
            self._lookout.watch_for(0, models.base)
        self._lookout.watch_for(stamp.round, models.model)

    def _write_evaluations(self, file: EventsFile) -> bool:
        """Look for evaluations until none is found; then write them all, for older ones make the file anew."""
        anything = False
        while self._look(file):
            anything = True
        found = self._lookout.found
        file.add(list(found.values()))
        for number in list(found):
            self._lookout.done(number)
        return anything

    def _look(self, file: EventsFile) -> bool:
        """Look once; return whether anything was found."""
        looks = self._lookout.next_looks()
        for number, model_sha256 in looks:
            self._require_time()
            try:
                evaluation = self._store.read_evaluation(number, model_sha256)
            except StoreCorrupt as error:
                self._log.warning("an evaluation cannot be shown", round=number, reason=str(error))
                self._lookout.done(number)
                continue
            if evaluation is not None:
                scalars = evaluation_scalars(evaluation)
                self._say_left_out(number, scalars)
                moment = file.round_stamp(max(number, 1)).wall_time
                self._lookout.found_one(number, evaluation_record(number, moment, scalars.values))
        return any(number in self._lookout.found for number, _ in looks)

    def _require_time(self) -> None:
        if self._out_of_time:
            raise _Stopped


def _agree(file: EventsFile, published: PublishedRound) -> bool:
    """Return whether a file can be of the federation in which a round was published."""
    newest = file.newest_round
    if newest == 0 or newest != published.round:
        return newest <= published.round
    return _models(file.round_stamp(newest)).model == published.manifest.model.sha256


def _models(stamp: Stamp) -> Models:
    assert stamp.models is not None, "a round's record names its models"
    return stamp.models
