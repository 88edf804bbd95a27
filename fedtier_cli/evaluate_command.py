"""``fedtier evaluate``: test every published round, straight from S3, at once or as they appear."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from fedtier.flags import command, json_flag
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.evaluation import Evaluator, RoundScore, evaluated_rounds, write_csv
from fedtier_cli.evaluation_data import Wanted, task_and_data
from fedtier_cli.evaluation_display import EvaluationDisplay, EvaluationFacts, EvaluationTables, Written
from fedtier_cli.history import published_rounds
from fedtier_cli.interruption import Interrupted, ended_by_signals
from fedtier_cli.pictures import MISSING, can_draw, picture_file, require_drawable
from fedtier_cli.published import Place, Published, maxlen_flag, opened, place_flags, running_store
from fedtier_cli.screen import screen
from fedtier_cli.watching import Watch, every_flag
from fedtier_cli.workplace import absolute_task

_CSV: Final = "evaluation.csv"
_PICTURE: Final = "confusion.png"
_FLAG: Final = "--confusion"
_PATH: Final = click.Path(path_type=Path)
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How rounds are to be tested, as far as the flags say.

    Parameters
    ----------
    wanted : Wanted
    maxlen : int or None
        The last round.
    again : bool
    watch : bool
    every : float
        Seconds from one look at S3 to the next.
    csv, picture : Path or None
        Where results go instead of the usual places.
    draw : bool
    """

    wanted: Wanted
    maxlen: int | None
    again: bool
    watch: bool
    every: float
    csv: Path | None
    picture: Path | None
    draw: bool


@command("evaluate")
@maxlen_flag
@click.option("--watch", is_flag=True, help="Test rounds as they are published, until --maxlen is or Ctrl-C.")
@every_flag
@click.option("--again", is_flag=True, help="Test also what was tested before on the same data.")
@place_flags
@click.option("--task", help="A built-in task, package.module:Name, or path/to/file.py:Name. [default: mnist_cnn]")
@click.option("--data", type=_PATH, help="Test data that the task is handed: for a built-in task, a shard.")
@click.option("--data-dir", type=_PATH, help="Folder with the data; MNIST is fetched otherwise.")
@click.option("--rows", multiple=True, help="CSV file or URL of the tabular data set; once per class.")
@click.option(
    "--csv", "csv", type=_FILE, help=f"Where the table goes as CSV. [default: {_CSV} in the run directory, or here]"
)
@click.option(
    "--confusion",
    "picture",
    type=_FILE,
    help=f"Where the newest round's confusion matrix goes, .png or .svg. [default: {_PICTURE}, as above]",
)
@click.option("--no-confusion", is_flag=True, help="Draw no confusion matrix.")
@json_flag
def evaluate(
    place: Place,
    maxlen: int | None,
    watch: bool,
    every: float,
    again: bool,
    task: str | None,
    data: Path | None,
    data_dir: Path | None,
    rows: tuple[str, ...],
    csv: Path | None,
    picture: Path | None,
    no_confusion: bool,
    as_json: bool,
) -> None:
    """Test every published round, straight from S3.

    What is found lies beside the round in S3 from then on, and is not tested again with the same task and test data.
    Its model is not read then: fedtier verify tells whether it is still what it was, and --again tests it anew. Of a
    task in a file its bytes count, of any other task its name.

    With --json one object per round as it is tested, and one at the end that counts them.

    Ends with status 0 when done, 1 when S3 cannot be used, nothing is published or a model cannot be tested, 2 for
    wrong flags, 130 by Ctrl-C, which is how --watch without --maxlen ends.
    """
    if no_confusion and picture is not None:
        raise click.UsageError("--confusion and --no-confusion contradict each other; leave one out.")
    if csv is not None and not csv.parent.is_dir():
        raise StartupError(f"the folder {csv.parent} for the table does not exist; make it, or choose another --csv")
    if picture is not None:
        require_drawable(picture, _FLAG)
    options = Options(
        wanted=Wanted(task=None if task is None else absolute_task(task), data=data, data_dir=data_dir, rows=rows),
        maxlen=maxlen,
        again=again,
        watch=watch,
        every=every,
        csv=csv,
        picture=picture,
        draw=not no_confusion,
    )
    display = EvaluationFacts() if as_json else EvaluationTables(screen(), lines=watch)
    with ended_by_signals("the evaluation"), opened(place, start=not watch) as published:
        _evaluate(published, options, display)


def _evaluate(published: Published, options: Options, display: EvaluationDisplay) -> None:
    scores: list[RoundScore] = []
    with task_and_data(options.wanted, published.federation, os.environ) as (task, data):
        evaluator = Evaluator(task, data, again=options.again, note=display.note)
        try:
            for score in _scores(published, options, evaluator, display):
                # The newest confusion matrix alone is drawn; those of many rounds and classes fill the memory.
                scores[-1:] = [*(replace(one, confusion=None) for one in scores[-1:]), score]
                display.score(score)
        except Interrupted:
            # A watch without a last round ends so: what it found is shown all the same.
            if options.watch and scores:
                _finish(published, options, scores, display)
            raise
    _finish(published, options, scores, display)


def _scores(
    published: Published, options: Options, evaluator: Evaluator, display: EvaluationDisplay
) -> Iterator[RoundScore]:
    if not options.watch:
        rounds = published_rounds(published.rounds, options.maxlen)
        return evaluated_rounds(published.rounds, rounds, evaluator)
    watch = Watch(last=options.maxlen, every=options.every, sleep=time.sleep, note=display.note)
    return watch.follow(_current_store(published), evaluator.score)


def _current_store(published: Published) -> Callable[[], RoundStore]:
    """Return what says where the rounds are now: a local run's S3 has another address after each start."""

    def current() -> RoundStore:
        run = published.run
        federation = None if run is None else run.read_federation()
        if run is None or federation is None:
            return published.rounds
        return running_store(run, federation) or published.rounds

    return current


def _finish(published: Published, options: Options, scores: list[RoundScore], display: EvaluationDisplay) -> None:
    folder = Path() if published.run is None else published.run.path
    table = options.csv or folder / _CSV
    write_csv(table, scores)
    display.finished(scores, Written(table, _draw(scores[-1], options, folder, display)))


def _draw(newest: RoundScore, options: Options, folder: Path, display: EvaluationDisplay) -> Path | None:
    if not options.draw:
        return None
    if newest.confusion is None:
        if options.picture is not None:
            display.note(f"{options.picture} is not drawn: the task does not say which classes it takes for which")
        return None
    if not can_draw():
        display.note(MISSING)
        return None
    target = options.picture or folder / _PICTURE
    picture_file(target, _FLAG).draw_confusion(newest.round, newest.confusion, newest.metrics.get("accuracy"))
    return target
