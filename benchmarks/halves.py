"""What half-size updates cost in accuracy: the same federation on MNIST, once for each upload dtype and seed.

``python -m benchmarks.halves [--model mnist_cnn] [--clients 4] [--rounds 3] [--seeds 0 1 2]
[--json] [--out benchmarks/results/halves.json]``

Each run is a ``fedtier train`` of its own. With the same seed shards, initial model and order of the training are the
same; only ``--upload-dtype`` differs. Accuracy is that of every published model on the test images.
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

from benchmarks.ending import end_when_told
from benchmarks.tables import halves_table
from client.halves import UPLOAD_DTYPES

_PROGRAM: Final = (sys.executable, "-m", "fedtier_cli.main")


def main(arguments: Sequence[str] | None = None, program: Sequence[str] = _PROGRAM) -> None:
    """Train once per seed and dtype, and print accuracy per round.

    Parameters
    ----------
    arguments : sequence of str, optional
    program : sequence of str
        What ``train`` and its flags are given to.
    """
    parser = argparse.ArgumentParser(description="Accuracy on MNIST with updates of each upload dtype.")
    parser.add_argument("--model", default="mnist_cnn", help="a built-in task for MNIST (default mnist_cnn)")
    parser.add_argument("--clients", type=int, default=4, help="how many clients there are (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each run (default 3)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all draws (default 0 1 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="also write the JSON object to this file")
    options = parser.parse_args(arguments)
    flags = ["--model", options.model, "--clients", str(options.clients), "--round", str(options.rounds)]
    found: dict[str, list[list[float]]] = {dtype: [] for dtype in UPLOAD_DTYPES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for dtype, of_seeds in found.items():
                run_dir = Path(folder, f"{dtype}-{seed}")
                of_seeds.append(accuracies(trained(program, run_dir, dtype, [*flags, "--seed", str(seed)])))
    facts = {
        "benchmark": "halves",
        "model": options.model,
        "clients": options.clients,
        "seeds": options.seeds,
        "accuracy": found,
    }
    text = json.dumps(facts, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text if options.json else halves_table(found))


def trained(program: Sequence[str], run_dir: Path, upload_dtype: str, flags: Sequence[str]) -> list[dict[str, Any]]:
    """Run a federation and return the facts that it printed."""
    words = [*program, "train", *flags, "--upload-dtype", upload_dtype, "--run-dir", str(run_dir), "--json"]
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


if __name__ == "__main__":
    end_when_told()
    main()
