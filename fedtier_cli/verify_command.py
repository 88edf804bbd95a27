"""``fedtier verify``: check published rounds from S3 alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.flags import command, json_flag
from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest
from fedtier.store import PublishedRound, RoundStore
from fedtier.tensors import TensorFile
from fedtier_cli.history import nothing_published
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.published import Place, opened, place_flags
from fedtier_cli.round_names import LAST, round_name
from fedtier_cli.screen import screen
from fedtier_cli.situation import plural
from fedtier_cli.verdicts import JsonVerdicts, LineVerdicts, Tally
from fedtier_cli.verification import (
    Check,
    check_contributors,
    check_model,
    check_plan,
    check_size,
    check_succession,
    check_times,
)

DIFFERENT: Final = 3
"""Exit status where a check failed."""


@command("verify")
@click.argument("number", metavar="[ROUND|last]", callback=round_name, required=False)
@click.option("--all", "everything", is_flag=True, help="Check every published round, from the newest to round 0.")
@place_flags
@json_flag
def verify(number: int | str | None, everything: bool, place: Place, as_json: bool) -> None:
    """Recompute a published round's digests, and check its manifest.

    Everything comes from S3: the manifests from head back to the round, its model and the model before it. Nothing is
    written. Up to two models are on disk at a time, in the folder for temporary files.

    Ends with status 0 when every check is passed, 1 when S3 cannot be used or there is no such round, 2 for wrong
    flags, 3 when a check failed, 130 by Ctrl-C. With --json a line per check, and one that counts them.
    """
    if (number is None) == (not everything):
        raise click.UsageError("name a round, or last, or give --all; not both")
    verdicts = JsonVerdicts() if as_json else LineVerdicts(screen(), brief=everything)
    with ended_by_signals("the verification"), opened(place) as published:
        tally = Tally()
        for label, checks in _checks(published.rounds, number):
            tally = tally.plus(verdicts.show(label, checks))
    verdicts.end(tally)
    sys.exit(DIFFERENT if tally.failed else 0)


@dataclass(frozen=True, slots=True)
class _Chain:
    """The manifests from the newest round down as far as was asked and could be had.

    Parameters
    ----------
    rounds : sequence of PublishedRound
        Newest first.
    head_attempt : int
    broken : str or None
        Why it does not go on.
    """

    rounds: Sequence[PublishedRound]
    head_attempt: int
    broken: str | None

    def attempt_above(self, position: int) -> int:
        """Return the attempt of what came after the round at a position."""
        return self.rounds[position - 1].manifest.attempt if position else self.head_attempt


def _checks(store: RoundStore, number: int | str | None) -> Iterator[tuple[str, Iterator[Check]]]:
    """Yield what the checks are about, and the checks: of a round, of the newest, or with None of all."""
    try:
        chain = _read_chain(store, number)
        claim = f"head leads to {plural(len(chain.rounds), 'manifest')}, each with the SHA-256 that its successor names"
        yield "chain", iter([Check("chain", claim, chain.broken)])
        with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
            models = _Models(store, Path(folder))
            for position, published in enumerate(chain.rounds):
                if number is None or (position == 0 if number == LAST else published.round == number):
                    before = chain.rounds[position + 1] if position + 1 < len(chain.rounds) else None
                    yield f"round {published.round}", _round_checks(store, chain, position, before, models)
    except StoreUnavailable as error:
        raise StartupError(str(error)) from None
    except OSError as error:
        raise StartupError(f"the models cannot be written to a temporary file ({error}); set TMPDIR") from None


def _read_chain(store: RoundStore, number: int | str | None) -> _Chain:
    rounds: list[PublishedRound] = []
    broken = None
    try:
        for published in store.history():
            rounds.append(published)
            base_of_last = number == LAST and len(rounds) == 2
            if base_of_last or (isinstance(number, int) and published.round < number):
                break
    except StoreCorrupt as error:
        broken = str(error)
    head = store.read_head()  # after the manifests: its attempt only rises
    if head is None:
        raise nothing_published(store)
    if isinstance(number, int) and number > head.head.round:
        raise StartupError(f"round {number} is not published; the newest is {head.head.round}")
    return _Chain(rounds, head.head.attempt, broken)


class _Models:
    """Downloaded models, each under its digest, so that a base is fetched once."""

    def __init__(self, store: RoundStore, folder: Path) -> None:
        self._store = store
        self.folder = folder

    def path(self, published: PublishedRound) -> Path:
        """Return where a round's model lies when it was fetched."""
        return self.folder / f"{published.manifest.model.sha256}.safetensors"

    def fetch(self, published: PublishedRound) -> TensorFile:
        """Return a round's model, verified.

        Raises
        ------
        StoreCorrupt, NotSafetensors
        """
        path = self.path(published)
        if not path.exists():
            self._store.download_model(published.round, published.manifest.model.sha256, path)
        return TensorFile(path)

    def drop(self, published: PublishedRound) -> None:
        """Delete a round's model."""
        self.path(published).unlink(missing_ok=True)


def _round_checks(
    store: RoundStore, chain: _Chain, position: int, before: PublishedRound | None, models: _Models
) -> Iterator[Check]:
    """Yield the checks of one round: of its documents first, then of its model."""
    published = chain.rounds[position]
    manifest = published.manifest
    before_manifest = None if before is None else before.manifest
    yield from check_succession(manifest, before_manifest, attempt_above=chain.attempt_above(position))
    if isinstance(manifest, RoundManifest):
        yield from check_contributors(manifest)
        yield check_times(manifest, before_manifest)
    yield from _model_checks(published, before, models)
    if before is None or models.path(before) != models.path(published):
        models.drop(published)
    if position == 0:
        yield _copy_check(store, published, models.folder / "copy.safetensors")


def _model_checks(published: PublishedRound, before: PublishedRound | None, models: _Models) -> Iterator[Check]:
    model, check = _fetch("model", published, models)
    yield check
    if model is None:
        return
    yield check_size(published.manifest, models.path(published).stat().st_size)
    if not isinstance(published.manifest, RoundManifest) or before is None:
        return
    base, check = _fetch("base-model", before, models)
    yield check
    if base is not None:
        yield check_plan(published.manifest, base)
        yield from check_model(published.manifest, model, base)


def _fetch(name: str, published: PublishedRound, models: _Models) -> tuple[TensorFile | None, Check]:
    """Return a round's model, where it is one, and the check of that."""
    claim = f"the model of round {published.round} is a safetensors file with the SHA-256 that its manifest names"
    try:
        return models.fetch(published), Check(name, claim)
    except StoreCorrupt as error:
        return None, Check(name, claim, str(error))
    except Problem as problem:
        return None, Check(name, claim, problem.detail)


def _copy_check(store: RoundStore, newest: PublishedRound, path: Path) -> Check:
    claim = "the copy at the bucket key is the newest model"
    try:
        store.download_copy(newest.manifest.model.sha256, path)
        path.unlink()
    except StoreCorrupt as error:
        head = store.read_head()
        if head is not None and head.head.round > newest.round:
            return Check("copy", claim, remark="a newer round was published meanwhile")
        older = _older_copy(store, newest, path)
        if older is not None:
            remark = (
                f"it is that of round {older} still; a master renews it a moment after publishing, and at its start"
            )
            return Check("copy", claim, remark=remark)
        return Check("copy", claim, f"{error}; a master renews it when it publishes the next round")
    return Check("copy", claim)


def _older_copy(store: RoundStore, newest: PublishedRound, path: Path) -> int | None:
    """Return the round before the newest of which the copy is the model, as it says, or None."""
    said = store.copied()
    if said is None or said[0] >= newest.round:
        return None
    try:
        store.download_copy(said[1], path)
        path.unlink()
        published = next(published for published in store.history() if published.round <= said[0])
    except StoreCorrupt:
        return None
    return published.round if published.manifest.model.sha256 == said[1] else None
