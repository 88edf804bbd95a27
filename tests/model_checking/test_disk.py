"""Whenever a master is killed, and whatever becomes of its disk: nobody who was told 200 is lost, nobody counts twice.

`FEDTIER_MODEL_EXAMPLES=20000 pytest tests/model_checking/test_disk.py --timeout=0` looks at so many histories.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fedtier.dtypes import Array
from fedtier.entries import Entry, read_partial, read_update
from fedtier.fields import sha256_hex
from fedtier.problems import StartupError
from fedtier.rounds import UpdateReceipt
from master_aggregator.journal import find_journals
from tests.builders import (
    model_arrays,
    noon,
    partial_bytes,
    received,
    safetensors,
    sum_of,
    trained,
    update_bytes,
)
from tests.model_checking.claims import ALONE, CLOSES, NOTHING_LEFT, REPLAYED, Claims
from tests.model_checking.killed_master import Instants, Killed, KilledMaster
from tests.model_checking.stored_rounds import StoredRounds

EXAMPLES: Final = int(os.environ.get("FEDTIER_MODEL_EXAMPLES", "50"))
CLIENTS: Final = "abcde"
THRESHOLD: Final = 4

SENDERS: Final = st.sets(st.sampled_from(CLIENTS), min_size=1, max_size=2)
WHICH: Final = st.integers(0, 15)
INSTANT: Final = st.none() | st.integers(0, 12)
"""How many writes a process survives; None for all."""


_BODY: Final = re.compile(r"[0-9a-f]{32}\.safetensors")


class AnyDisk(RuleBasedStateMachine):
    """Rules are what a master is asked to do until it is killed, and what happens to its disk when it is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        (self.root / "s3").mkdir()
        self.instants = Instants()
        self.syncing = patch("os.fsync", self.instants.sync)
        self.syncing.start()
        self.claims = Claims()
        self.updates: dict[str, tuple[Mapping[str, Array], int]] = {}
        initial = safetensors(model_arrays())
        self.store = StoredRounds(self.root / "s3", initial, self.updates, self.claims, self.instants.pass_one)
        self.moments = itertools.count()
        self.master: KilledMaster | None = None
        self.told: dict[str, str] = {}
        self.told_in = (0, 0)
        self.is_hurt = False

    # What a master does until it is killed.

    @contextmanager
    def until_killed(self, instant: int | None) -> Iterator[None]:
        self.instants.left = instant
        try:
            yield
        except Killed:
            if self.master is not None:
                self.master.end()
            self.master = None
        finally:
            self.instants.left = None

    @rule(instant=INSTANT)
    def it_starts(self, instant: int | None) -> None:
        if self.master is not None:
            return
        with self.until_killed(instant):
            try:
                self.master = KilledMaster(self.root / "state", self.store, self.now, THRESHOLD)
            except StartupError:
                assert self.is_hurt, f"{ALONE}: {self.store.head}"
                shutil.rmtree(self.root / "state")
        if self.master is not None:
            self.check_what_came_back(self.master)

    @rule(clients=SENDERS, variant=st.integers(0, 1), instant=INSTANT)
    def it_counts_updates(self, clients: set[str], variant: int, instant: int | None) -> None:
        self.count(clients, variant, instant, partial=False)

    @rule(clients=SENDERS, variant=st.integers(0, 1), instant=INSTANT)
    def it_counts_a_partial(self, clients: set[str], variant: int, instant: int | None) -> None:
        self.count(clients, variant, instant, partial=True)

    @precondition(lambda self: self.master is not None)
    @rule(instant=INSTANT)
    def it_publishes(self, instant: int | None) -> None:
        with self.until_killed(instant):
            self.running.publish()

    @precondition(lambda self: self.master is not None)
    @rule(instant=INSTANT)
    def it_closes_the_round_as_it_is_asked(self, instant: int | None) -> None:
        with self.until_killed(instant):
            self.running.tier.close_round(self.running.plan.round)

    @precondition(lambda self: self.master is not None and self.master.counted and self.master.collects)
    @rule(instant=INSTANT)
    def it_makes_a_snapshot(self, instant: int | None) -> None:
        with self.until_killed(instant):
            self.running.make_snapshot()

    @rule(
        meanwhile=st.sampled_from(["nothing"] * 4 + ["half a write"] * 2 + ["damage", "loss", "another master"]),
        which=WHICH,
    )
    def it_is_killed(self, meanwhile: str, which: int) -> None:
        """Kill it in peace; and what happens to its disk, and at head, before it starts again."""
        if self.master is not None:
            self.master.end()
            self.master = None
        match meanwhile:
            case "half a write":
                self.leave_half_written()
            case "damage":
                self.damage(which)
            case "loss":
                shutil.rmtree(self.root / "state", ignore_errors=True)
                self.is_hurt = True
            case "another master":
                self.have_another_master_claim()

    @rule()
    def another_master_claims_the_round_before_it_is_published(self) -> None:
        if self.master is not None and not self.master.collects:
            self.have_another_master_claim()

    def count(self, clients: set[str], variant: int, instant: int | None, *, partial: bool) -> None:
        self.it_starts(None)
        master = self.master
        if master is None or not master.collects:
            return
        entries = self.entries(master, sorted(clients), variant, partial=partial)
        offered: dict[int, Entry] = {}
        with self.until_killed(instant):
            offered = master.offer(entries)
            master.record()
        for ticket, entry in offered.items():
            self.note_answer(master, ticket, entry)

    def leave_half_written(self) -> None:
        if self.journal_files:
            folder = self.journal_files[0].parent
            (folder / "commit-00000099.json.tmp").write_bytes(b"half")
            (folder / "a-body-that-no-commit-names.safetensors").write_bytes(b"half")

    def damage(self, which: int) -> None:
        if self.journal_files:
            path = self.journal_files[which % len(self.journal_files)]
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            self.is_hurt = True

    def have_another_master_claim(self) -> None:
        head = self.store.read_head()
        claim = head.head.model_copy(update={"attempt": head.head.attempt + 1})
        self.store.swap_head(claim, head.etag, own_content_is_success=False)
        self.is_hurt = True

    # What must hold.

    @invariant()
    def a_closed_round_stays_closed(self) -> None:
        if self.master is not None:
            self.claims.shown(self.master.tier.status())

    def check_what_came_back(self, master: KilledMaster) -> None:
        counted = master.counted
        assert master.opened.total == sum_of(master.plan, [self.updates[c.sha256] for c in counted.values()]), REPLAYED
        if master.plan.pair == self.told_in:
            assert self.told.items() <= {c.client_id: c.sha256 for c in counted.values()}.items(), REPLAYED
        else:
            gone = self.is_hurt or not self.told or self.told_in in self.claims.published
            assert gone, f"{REPLAYED}: {master.plan.pair} follows {self.told_in}"
            self.begin_attempt(*master.plan.pair)
        self.is_hurt = False

    def begin_attempt(self, round_number: int, attempt: int) -> None:
        self.told_in = round_number, attempt
        self.told.clear()

    def note_answer(self, master: KilledMaster, ticket: int, entry: Entry) -> None:
        answer = master.answer(ticket)
        if answer is None:
            return
        if (answer.round, answer.attempt) != self.told_in:
            self.begin_attempt(answer.round, answer.attempt)
        for contributor in entry.contributors:
            sha256 = answer.sha256 if entry.kind == "update" else contributor.sha256
            self.told[contributor.client_id] = sha256
            self.claims.promised(
                UpdateReceipt(
                    round=answer.round, attempt=answer.attempt, client_id=contributor.client_id, sha256=sha256
                )
            )

    def teardown(self) -> None:
        try:
            if sys.exception() is None:
                self.come_to_an_end()
        finally:
            self.syncing.stop()
            if self.master is not None:
                self.master.end()
            shutil.rmtree(self.root)

    def come_to_an_end(self) -> None:
        """Kill nothing any more: the open round is published, and one journal is left."""
        last = self.store.head.round + 1
        for _ in range(6):
            if self.store.head.round >= last:
                break
            self.count(set(CLIENTS), 0, None, partial=False)
            if self.master is not None:
                self.it_publishes(None)
        assert self.store.head.round >= last, CLOSES
        assert self.master is not None, CLOSES
        assert len(find_journals(self.root / "state")) == 1, NOTHING_LEFT
        assert not list((self.root / "state" / "spool").iterdir()), NOTHING_LEFT

    # How it is done.

    @property
    def running(self) -> KilledMaster:
        assert self.master is not None
        return self.master

    @property
    def journal_files(self) -> list[Path]:
        if not (self.root / "state").exists():
            return []
        files = [p for folder in find_journals(self.root / "state").values() for p in folder.iterdir()]
        return sorted((path for path in files if path.stat().st_size), key=_same_each_time)

    def now(self) -> datetime:
        return noon(next(self.moments))

    def entries(self, master: KilledMaster, clients: list[str], variant: int, *, partial: bool) -> list[Entry]:
        """Return what clients trained for the open round, checked: each its update, or all together one partial."""
        members = {client: self.train(client, master.plan.round, variant) for client in clients}
        if partial:
            return [
                read_partial(master.plan, received(master.state.new_spool_file(), partial_bytes(master.plan, members)))
            ]
        return [
            read_update(master.plan, client, received(master.state.new_spool_file(), update_bytes(*members[client])))
            for client in clients
        ]

    def train(self, client: str, round_number: int, variant: int) -> tuple[Mapping[str, Array], int]:
        number = CLIENTS.index(client)
        update = trained(100 * round_number + 10 * number + variant), number + 1
        sha256 = sha256_hex(update_bytes(*update))
        self.updates[sha256] = update
        self.claims.trained(sha256, round_number)
        return update


def _same_each_time(path: Path) -> tuple[str, str]:
    """Return what sorts files alike in two equal histories: the names of bodies are random."""
    name = "" if _BODY.fullmatch(path.name) else path.name
    return f"{path.parent.name}/{name}", "" if name else sha256_hex(path.read_bytes())


AnyDisk.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyDisk = AnyDisk.TestCase
