"""Accuracy is taken of every seed and dtype, and the report reads what that leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.halves import main
from benchmarks.recorded import read_results

TRAINING = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("command")
for name in ("model", "clients", "round", "seed", "upload-dtype", "run-dir"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--json", action="store_true")
options = parser.parse_args()
print(json.dumps({"event": "started"}))
for number in (1, 0):
    accuracy = number / 2 + int(options.seed) / 10 + (options.upload_dtype == "float16") / 100
    print(json.dumps({"event": "score", "round": number, "metrics": {"accuracy": round(accuracy, 2)}}))
"""


def test_every_dtype_is_trained_with_every_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = tmp_path / "training.py"
    training.write_text(TRAINING)
    out = tmp_path / "halves.json"
    main(["--rounds", "1", "--seeds", "0", "2", "--out", str(out)], [sys.executable, str(training)])
    assert json.loads(out.read_text())["seeds"] == [0, 2]
    found = read_results(tmp_path).halves
    assert found == {
        "float32": [[0.0, 0.5], [0.2, 0.7]],
        "bfloat16": [[0.0, 0.5], [0.2, 0.7]],
        "float16": [[0.01, 0.51], [0.21, 0.71]],
    }
    assert "| 1 | 60.00% (50.00% - 70.00%) | 60.00% (50.00% - 70.00%) | 61.00% (51.00% - 71.00%) |" in (
        capsys.readouterr().out
    )
