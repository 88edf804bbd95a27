"""``python -m tests.system.costs``: what rounds take on this machine, beside what they may take."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.s3_servers import running_server
from tests.system.costs.allowances import byte_lines, request_lines, spent_lines
from tests.system.costs.rounds import CLIENTS, ROUNDS, play


def main() -> None:
    """Play the rounds once and print."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "s3") as s3:
        played = play(Path(folder), s3, "costs/model.safetensors")
    print(f"{ROUNDS} rounds of {CLIENTS} clients, {played.partials} partials, models of {played.model_bytes} bytes")
    for line in (*spent_lines(played), *request_lines(played), *byte_lines(played)):
        verdict = "" if line.is_kept else "TOO MUCH "
        print(f"{line.what:40s} {line.counted:12.0f} of {line.allowed:12.0f}  {verdict}{line.why}")


if __name__ == "__main__":
    main()
