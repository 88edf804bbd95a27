"""The scale benchmark knows what its rounds have to give, and measures real tiers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.scale_cell import Figures, percentile
from benchmarks.scale_clients import expected_sha256
from fedtier.dtypes import Array
from fedtier.fields import sha256_hex
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT
from tests.reference import Tensor, round_model


def test_the_expected_model_is_the_one_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    models: list[dict[str, Array]] = [
        {
            "weight": rng.uniform(-0.9, 0.9, (3, 4)).astype(np.float32),
            "bias": np.full(10, number / 8, np.float32),
        }
        for number in range(3)
    ]
    sent = [(0, 600, 2), (1, 617, 1), (0, 601, 3)]

    updates = [(tensors(models[model]), examples) for model, examples, times in sent for _ in range(times)]
    base = list(tensors(models[2]).items())
    assert expected_sha256(models, sent) == sha256_hex(round_model(base, updates, DEFAULT_WEIGHT_LIMIT))


def tensors(model: dict[str, Array]) -> dict[str, Tensor]:
    return {name: Tensor("F32", array.shape, array.tobytes()) for name, array in model.items()}


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], percent) for percent in (0, 25, 50, 95, 99, 100)] == [1, 1, 2, 4, 4, 4]


def test_a_table_has_the_columns_that_records_have() -> None:
    records: list[Figures] = [{"clients": 10, "p50_ms": 1.5, "other": 3}, {"clients": 100}]
    assert scale.shown(records, ["clients", "p99_ms", "p50_ms"]).splitlines() == [
        "| clients | p50_ms |",
        "| --- | --: |",
        "| 10 | 1.5 |",
        "| 100 |  |",
    ]


@pytest.mark.system
def test_rounds_are_measured_through_three_tiers(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    words = "updates --clients 4 --workers 2 --depth 3 --megabytes 0.01 --updates 12"
    scale.main([*words.split(), "--out", str(out)])
    [record] = json.loads(out.read_text())["records"]
    assert (record["clients"], record["workers"], record["depth"], record["rounds"]) == (4, 2, 3, 3)
    assert 0 < record["p50_ms"] <= record["p95_ms"] <= record["p99_ms"]
    assert 1 <= record["contributors_per_partial"] <= 4
    assert {f"{tier}_pss_megabytes" for tier in ("s3", "master", "middle", "worker")} <= record.keys()
    assert all(record[f"{tier}_pss_megabytes"] > 0 for tier in ("master", "middle", "worker"))


@pytest.mark.system
def test_polls_and_contributors_are_measured(tmp_path: Path) -> None:
    idle, contributors = tmp_path / "idle.json", tmp_path / "contributors.json"
    scale.main(["idle", "--clients", "5", "--workers", "1", "--settle", "0.5", "--seconds", "1", "--out", str(idle)])
    scale.main(["contributors", "--clients", "6", "--workers", "1", "--out", str(contributors)])
    [polls] = json.loads(idle.read_text())["records"]
    [round_] = json.loads(contributors.read_text())["records"]
    assert polls["polls_per_second"] > 0
    assert polls["poll_after"] > 0
    assert round_["manifest_bytes"] > 6 * 64
    assert 64 < round_["partial_header_bytes_per_contributor"] < 1000
    assert round_["journal_commits"] >= 1
