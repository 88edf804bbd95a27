"""What half-size updates cost in accuracy: the same federation on MNIST, once for each upload dtype.

``python -m benchmarks.halves [--model mnist_cnn] [--clients 4] [--rounds 3] [--seed 0] [--json]
[--out benchmarks/results/halves.json]``

Each run is a ``fedtier train`` of its own with the same seed, so shards, initial model and order of the training are
the same; only ``--upload-dtype`` differs. Accuracy is that of every published model on the test images.
"""

from __future__ import annotations

import argparse
import json
import subprocess  # nosec B404 -- the console script of this checkout, without a shell
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.ending import end_on_sigterm
from client.halves import UPLOAD_DTYPES

_PROGRAM: Final = (sys.executable, "-m", "fedtier_cli.main")


def main() -> None:
    """Train once per dtype, and print accuracy per round."""
    parser = argparse.ArgumentParser(description="Accuracy on MNIST with updates of each upload dtype.")
    parser.add_argument("--model", default="mnist_cnn", help="a built-in task for MNIST (default mnist_cnn)")
    parser.add_argument("--clients", type=int, default=4, help="how many clients there are (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each run (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="also write the JSON object to this file")
    options = parser.parse_args()
    flags = [
        *("--model", options.model, "--clients", str(options.clients), "--round", str(options.rounds)),
        *("--seed", str(options.seed)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, list[float]] = {
            dtype: accuracies(trained(Path(folder, dtype), dtype, flags)) for dtype in UPLOAD_DTYPES
        }
    facts = {
        "benchmark": "halves",
        "model": options.model,
        "clients": options.clients,
        "seed": options.seed,
        "accuracy": runs,
    }
    text = json.dumps(facts, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text if options.json else table(runs))


def trained(run_dir: Path, upload_dtype: str, flags: Sequence[str]) -> list[dict[str, Any]]:
    """Run a federation and return the facts that it printed."""
    words = [*_PROGRAM, "train", *flags, "--upload-dtype", upload_dtype, "--run-dir", str(run_dir), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # nosec B603 -- the words are ours
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()  # it then ends what it started
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return [json.loads(line) for line in said.splitlines()]


def accuracies(facts: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the accuracy of every published round, from round 0 on."""
    scores = {fact["round"]: fact["metrics"]["accuracy"] for fact in facts if fact["event"] == "score"}
    return [scores[number] for number in sorted(scores)]


def table(runs: Mapping[str, Sequence[float]]) -> str:
    """Return accuracies, a row per round and a column per dtype."""
    rows = [["round", *runs]]
    for number, row in enumerate(zip(*runs.values(), strict=True)):
        rows.append([str(number), *(f"{accuracy:.2%}" for accuracy in row)])
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in rows)


if __name__ == "__main__":
    end_on_sigterm()
    main()
