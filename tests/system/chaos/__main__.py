"""``python -m tests.system.chaos --minutes 60 --seed S``."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.system.chaos.audit import Broken
from tests.system.chaos.run import run


@click.command()
@click.option("--minutes", type=float, default=2.0, show_default=True, help="How long faults go on.")
@click.option("--rounds", type=int, help="End after so many rounds instead.")
@click.option("--seed", default=lambda: secrets.token_hex(4), help="Of the faults; a new one by default.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where state and logs lie. [default: a temporary one]")
@click.option("--quiet", is_flag=True, help="Print only what it comes to.")
def main(minutes: float, rounds: int | None, seed: str, folder: Path | None, quiet: bool) -> None:
    """Run a federation under random faults on all tiers, and look at every round that it publishes."""
    click.echo(f"seed {seed}")
    end = time.monotonic() + 60 * minutes
    place = folder or Path(tempfile.mkdtemp(prefix="fedtier-chaos-"))
    place.mkdir(parents=True, exist_ok=True)

    def is_over(looked_at: int) -> bool:
        return looked_at >= rounds if rounds is not None else time.monotonic() > end

    try:
        report = run(place, seed, is_over, lambda line: None if quiet else click.echo(line))
    except Broken as broken:
        click.echo(f"BROKEN with seed {seed}: {broken}\nstate and logs are kept in {place}")
        sys.exit(1)
    click.echo("\n".join(report.lines()))
    if folder is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
