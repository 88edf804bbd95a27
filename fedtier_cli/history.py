"""The published rounds as commands read them from S3: the manifests, and with each what an evaluation said of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.evaluations import Evaluation
from fedtier.problems import StartupError
from fedtier.rounds import Contributor, RoundManifest
from fedtier.store import PublishedRound, RoundStore
from fedtier_cli.metrics import round_seconds

_READERS: Final = 8


@dataclass(frozen=True, slots=True)
class HistoryRound:
    """A published round, and how its model did on test data.

    Parameters
    ----------
    published : PublishedRound
    evaluation : Evaluation or None
        None where nobody tested it.
    """

    published: PublishedRound
    evaluation: Evaluation | None

    @property
    def round(self) -> int:
        """The round's number; 0 is the initial model."""
        return self.published.round

    @property
    def contributors(self) -> Sequence[Contributor]:
        """Who is in it, with what each of them reported."""
        return self.published.manifest.contributors

    @property
    def seconds(self) -> float | None:
        """From the round's opening to its publishing; None for the initial model."""
        manifest = self.published.manifest
        return round_seconds(manifest) if isinstance(manifest, RoundManifest) else None


def published_rounds(
    store: RoundStore, maxlen: int | None = None, *, newest: int | None = None
) -> list[PublishedRound]:
    """Return published rounds, oldest first.

    Parameters
    ----------
    store : RoundStore
    maxlen : int, optional
        The last round that is wanted.
    newest : int, optional
        How many rounds are wanted, the newest.

    Raises
    ------
    StartupError
        S3 cannot be used, a manifest is not what head or its successor says, or nothing is published.
    """
    with s3_sentences():
        rounds = list(_newest_first(store, maxlen, newest))
    _require_some(rounds, store)
    return rounds[::-1]


def read_history(store: RoundStore, maxlen: int | None = None, *, newest: int | None = None) -> list[HistoryRound]:
    """Return `published_rounds` with their evaluations, but no confusion matrix: those of many rounds fill the memory.

    Manifests are read one after another, for each names the one before; evaluations meanwhile by several threads.

    Raises
    ------
    StartupError
        As `published_rounds`, or an evaluation is none.
    """
    with s3_sentences(), ThreadPoolExecutor(_READERS) as readers:
        try:
            rounds = [
                (published, readers.submit(_metrics_of, store, published))
                for published in _newest_first(store, maxlen, newest)
            ]
            _require_some(rounds, store)
            return [HistoryRound(published, evaluation.result()) for published, evaluation in reversed(rounds)]
        except BaseException:
            readers.shutdown(wait=False, cancel_futures=True)
            raise


def read_round(store: RoundStore, number: int | None) -> HistoryRound:
    """Return one published round with all of its evaluation.

    Parameters
    ----------
    store : RoundStore
    number : int or None
        None for the newest.

    Raises
    ------
    StartupError
        As `read_history`, or the round is not published.
    """
    newest = None
    with s3_sentences():
        for published in store.history():
            newest = published if newest is None else newest
            if number is None or published.round == number:
                return HistoryRound(published, _evaluation(store, published))
            if published.round < number:
                break
    if newest is None:
        raise nothing_published(store)
    raise StartupError(f"round {number} is not published; the newest is {newest.round}")


@contextmanager
def s3_sentences() -> Iterator[None]:
    """Turn what S3 does into a sentence.

    Raises
    ------
    StartupError
    """
    try:
        yield
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None


def nothing_published(store: RoundStore) -> StartupError:
    """Return what to say where there is no round at all."""
    return StartupError(f"nothing is published at {store.keys.prefix} yet; check --bucket-name and --bucket-key")


def _newest_first(store: RoundStore, maxlen: int | None, newest: int | None) -> Iterator[PublishedRound]:
    wanted = (published for published in store.history() if maxlen is None or published.round <= maxlen)
    return islice(wanted, newest)


def _require_some(rounds: Sequence[object], store: RoundStore) -> None:
    if not rounds:
        raise nothing_published(store)


def _metrics_of(store: RoundStore, published: PublishedRound) -> Evaluation | None:
    found = _evaluation(store, published)
    return None if found is None else found.model_copy(update={"confusion": None})


def _evaluation(store: RoundStore, published: PublishedRound) -> Evaluation | None:
    try:
        return store.read_evaluation(published.round, published.manifest.model.sha256)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{error}; fedtier evaluate writes it anew") from None
