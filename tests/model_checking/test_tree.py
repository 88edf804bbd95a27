"""Whatever happens to a federation, everybody is counted at most once, as promised, and rounds go on.

`FEDTIER_MODEL_EXAMPLES=20000 pytest tests/model_checking/test_tree.py --timeout=0` looks at so many histories.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model_checking.bucket import FAULTS, Fault
from tests.model_checking.tree import CLIENTS, Tree

EXAMPLES: Final = int(os.environ.get("FEDTIER_MODEL_EXAMPLES", "150"))

SCHEDULES: Final = st.binary(min_size=4, max_size=24)
"""What happens before a fault: one byte picks one of the things that may happen next."""
WHICH: Final = st.integers(0, 15)
"""Picks one of those that a fault may hit."""


class AnyHistory(RuleBasedStateMachine):
    """Rules are faults, each amid other things, and stretches without any."""

    @initialize(threshold=st.integers(len(CLIENTS) - 2, len(CLIENTS)), sweeps=st.integers(0, 8))
    def begin(self, threshold: int, sweeps: int) -> None:
        self.tree = Tree(threshold)
        self.all_goes_well(sweeps)

    @rule(sweeps=st.integers(1, 8))
    def all_goes_well(self, sweeps: int) -> None:
        for _ in range(sweeps):
            self.tree.sweep()

    @rule(schedule=SCHEDULES)
    def one_is_faster_than_the_other(self, schedule: bytes) -> None:
        self.tree.run(schedule)

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_request_is_lost(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        if requests := self.tree.network.requests:
            self.tree.network.lose_request(requests[which % len(requests)])

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_request_comes_twice(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        if requests := self.tree.network.requests:
            self.tree.network.repeat_request(requests[which % len(requests)])

    @rule(schedule=SCHEDULES, which=WHICH)
    def an_answer_is_lost(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        if answers := self.tree.network.answers:
            self.tree.network.lose_answer(which % len(answers))

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_caller_waits_no_longer(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        if calls := self.tree.network.calls:
            self.tree.network.time_out(calls[which % len(calls)])

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_server_lets_wait_no_longer(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        waiting = [(serving, ticket) for serving in self.tree.servings for ticket in serving.waiting]
        if waiting:
            serving, ticket = waiting[which % len(waiting)]
            serving.keep_waiting_no_longer(ticket)

    @rule(schedule=SCHEDULES, which=WHICH)
    def an_upload_breaks_off(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        coming = [(serving, request) for serving in self.tree.servings for request in serving.receiving]
        if coming:
            serving, request = coming[which % len(coming)]
            serving.break_off(request)

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_worker_dies(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        self.tree.workers[which % len(self.tree.workers)].die()

    @rule(schedule=SCHEDULES, disk=st.sampled_from(["kept", "kept", "kept", "damaged", "lost"]))
    def the_master_dies(self, schedule: bytes, disk: str) -> None:
        self.tree.run(schedule)
        self.tree.route.master.die()
        self.tree.route.master.workshop.suffer(disk)

    @rule(schedule=SCHEDULES, which=WHICH, forgets=st.booleans())
    def a_client_dies(self, schedule: bytes, which: int, forgets: bool) -> None:
        self.tree.run(schedule)
        self.tree.clients[which % len(self.tree.clients)].restart(forgets=forgets)

    @rule(schedule=SCHEDULES, which=WHICH, server=WHICH)
    def a_client_is_sent_elsewhere(self, schedule: bytes, which: int, server: int) -> None:
        self.tree.run(schedule)
        self.tree.clients[which % len(self.tree.clients)].server = server

    @rule(schedule=SCHEDULES, fault=st.sampled_from(FAULTS))
    def s3_fails(self, schedule: bytes, fault: Fault) -> None:
        self.tree.run(schedule)
        self.tree.bucket.fault = fault

    @rule(schedule=SCHEDULES, which=WHICH)
    def a_disk_is_full(self, schedule: bytes, which: int) -> None:
        self.tree.run(schedule)
        disks = self.tree.disks
        if disks:
            disks[which % len(disks)].fails_next = True

    @rule(schedule=SCHEDULES)
    def the_operator_closes_the_round(self, schedule: bytes) -> None:
        self.tree.run(schedule)
        master = self.tree.route.master.process
        if master is not None:
            master.close_round()

    @rule(schedule=SCHEDULES)
    def another_master_takes_the_place_of_the_one_that_is_there(self, schedule: bytes) -> None:
        self.tree.run(schedule)
        self.tree.route_to_the_other_master()

    @rule(schedule=SCHEDULES, seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, schedule: bytes, seconds: float) -> None:
        self.tree.run(schedule)
        self.tree.pass_time(seconds)

    def teardown(self) -> None:
        if sys.exception() is None:  # what is broken already needs not come to an end
            self.tree.settle()


AnyHistory.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyHistory = AnyHistory.TestCase
