import json
from pathlib import Path

import pytest

from benchmarks.federation import Plan
from benchmarks.reference_sum import published_sha256
from benchmarks.round import main, play, run_of
from benchmarks.updates import SEED, Outline
from fedtier_cli.rundir import RunDirectory

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
ROUNDS = 2


def test_rounds_of_real_processes_give_the_reference_and_every_tier_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "one.json"
    asked = ["--clients", "2", "--megabytes", "0.01", "--workers", "2", "--rounds", "2"]
    assert main([*asked, "--folder", str(tmp_path), "--json", "--out", str(out)]) == 0
    measured = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == measured
    (run,) = measured["runs"]
    assert run["exact"]
    assert len(run["model_sha256"]) == len(set(run["model_sha256"])) == ROUNDS + 1
    assert [one["round"] for one in run["rounds"]] == [2, 3]
    watched, undisturbed = run["rounds"]
    assert watched["commit_seconds"] > 0
    assert watched["held_seconds"] is None
    assert undisturbed["commit_seconds"] is None
    assert undisturbed["held_seconds"] > 0
    for tier in ("s3", "master", "worker", "client"):
        assert run["cpu_seconds"][tier] > 0
        assert 0 < run["peak_pss_megabytes"][tier] < run["high_water_megabytes"][tier]
    assert run["server_memory_samples"] > 0
    assert run["client_memory_samples"] > 0
    assert run["peak_pss_megabytes"]["aggregators"] < run["peak_pss_megabytes"]["servers"]


def test_halves_are_half_the_bytes_but_for_the_bias() -> None:
    whole, half = (Plan(1, 1, Outline(3), 1, upload_dtype) for upload_dtype in ("float32", "bfloat16"))
    assert whole.update_bytes == 3 * 2000 + 40
    assert half.update_bytes == 3 * 1000 + 40


def test_clients_in_turns_are_all_counted_and_a_wrong_model_is_noticed(tmp_path: Path) -> None:
    plan = Plan(clients=4, processes=2, outline=Outline(2), workers=1)
    right = published_sha256(plan.outline, SEED, plan.clients, ROUNDS)
    seen = play(plan, RunDirectory(tmp_path), len(right), "always", "never")
    run = run_of(plan, seen, [right[0], "0" * 64], (1.0, 1.0))
    assert not run.exact
    assert list(run.model_sha256) == right
    assert [one.held_seconds for one in run.rounds] == [None]
