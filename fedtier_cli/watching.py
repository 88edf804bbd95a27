"""Rounds as they are published: a head that is looked at again and again, and each round handed on once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

import click

from fedtier.flags import FiniteRange
from fedtier.problems import StartupError
from fedtier.store import PublishedRound, RoundStore, StoreCorrupt, StoreUnavailable

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_Found = TypeVar("_Found")
_WaitsFor: TypeAlias = Literal["rounds", "the first round", "S3"]
_BACK: Final = "the wait is over"


def every_flag(function: _Decorated) -> _Decorated:
    """Add ``--every``: how long a watch waits from one look to the next."""
    return click.option(
        "--every",
        type=FiniteRange(min=0.05, max=3600),
        default=2.0,
        metavar="S",
        help="Seconds from one look to the next, with --watch.",
    )(function)


def rounds_after(seen: PublishedRound | None, history: Iterable[PublishedRound]) -> list[PublishedRound]:
    """Return the rounds that were published since one was the newest, oldest first.

    Parameters
    ----------
    seen : PublishedRound or None
        The newest round so far.
    history : iterable of PublishedRound
        Newest first; read no further back than `seen`.

    Raises
    ------
    StartupError
        The history does not contain `seen`: it went back, or is another federation's.
    """
    new: list[PublishedRound] = []
    for published in history:
        if seen is not None and published.round <= seen.round:
            if published.manifest_sha256 == seen.manifest_sha256:
                return new[::-1]
            raise _replaced(seen, f"round {(new or [published])[0].round} of another history")
        new.append(published)
    if seen is not None:
        raise _replaced(seen, "nothing")
    return new[::-1]


def _replaced(seen: PublishedRound, by: str) -> StartupError:
    return StartupError(
        f"round {seen.round} was the newest that is published, and now that is {by}; "
        "somebody replaced what lies there, so call again to begin anew"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How rounds are waited for.

    Parameters
    ----------
    last : int or None
        The round at which the watch ends; None for never.
    every : float
        Seconds from one look to the next.
    sleep : callable
        Gets seconds.
    note : callable
        Gets a sentence when nothing is there to be tested, or S3 is away, and one when that is over.
    """

    last: int | None
    every: float
    sleep: Callable[[float], object]
    note: Callable[[str], object]

    def follow(
        self, current_store: Callable[[], RoundStore], act: Callable[[RoundStore, PublishedRound], _Found]
    ) -> Iterator[_Found]:
        """Yield what `act` makes of each published round, oldest first, each once.

        Parameters
        ----------
        current_store : callable
            Returns where S3 is now; called again when S3 went away, since it may come back elsewhere.
        act : callable
            May raise `StoreUnavailable`; it is then called again for that round when S3 is back.

        Raises
        ------
        StartupError
            What is published is corrupt, or not what was published before.
        """
        seen: PublishedRound | None = None
        waits_for: _WaitsFor = "rounds"
        store = current_store()
        while True:
            before = waits_for
            try:
                for published in rounds_after(seen, store.history()):
                    if self.last is None or published.round <= self.last:
                        yield act(store, published)
                    seen = published
                waits_for = "the first round" if seen is None else "rounds"
                sentence = f"nothing is published at {store.keys.prefix} yet; it is waited for"
            except StoreUnavailable as error:
                waits_for, sentence = "S3", f"{error}; it is waited for"
                store = current_store()
            except StoreCorrupt as error:
                raise StartupError(str(error)) from None
            if before != waits_for:
                self.note(_BACK if waits_for == "rounds" else sentence)
            if seen is not None and self.last is not None and seen.round >= self.last:
                return
            self.sleep(self.every)
