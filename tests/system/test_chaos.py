"""Random faults on all tiers at once break no promise and lose no round."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.system.chaos.audit import Broken
from tests.system.chaos.drawing import faults_of
from tests.system.chaos.run import run

pytestmark = pytest.mark.system

ROUNDS = 60
"""About two minutes; ``python -m tests.system.chaos --minutes 60`` goes on for longer."""


@pytest.mark.timeout(1200)
def test_every_round_survives_random_faults_on_all_tiers(tmp_path: Path) -> None:
    seed = os.environ.get("FEDTIER_TEST_CHAOS_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    try:
        report = run(tmp_path, seed, lambda looked_at: looked_at >= ROUNDS, print)
    except (Broken, AssertionError) as broken:
        raise AssertionError(f"FEDTIER_TEST_CHAOS_SEED={seed} shows it again: {broken}") from broken
    print("\n".join(report.lines()))
    assert report.rounds >= ROUNDS
    assert report.promises > ROUNDS
    assert len(report.faults) > 5, report.faults


def test_a_seed_draws_the_same_faults_again() -> None:
    drawn = [str(fault) for number in range(1, 200) for fault in faults_of("a seed", number)]
    assert drawn == [str(fault) for number in range(1, 200) for fault in faults_of("a seed", number)]
    assert drawn != [str(fault) for number in range(1, 200) for fault in faults_of("another", number)]
    kinds = {line.partition("(")[0] for line in drawn}
    expected = {
        "Killed",
        "OnTheWay",
        "S3Stopped",
        "S3Frozen",
        "DiskLost",
        "SecondMaster",
        "Rival",
        "Stranger",
        "WayCut",
    }
    assert kinds >= expected
    assert any("Stalled" in line for line in drawn)
