"""Storms: schemathesis sends an aggregator all that its OpenAPI document allows, and much that it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.system.chaos.leaks import Held, grown, held_by, left_on_disk
from tests.system.federation import Aggregator

_HERE: Final = Path(__file__).parent
_CHECKOUT: Final = _HERE.parents[1]
_LONGEST: Final = 24 * 3600.0


@dataclass(frozen=True)
class Storm:
    """What was sent, and what came of it.

    Parameters
    ----------
    cases : int
        Requests that were made up and sent.
    faults : tuple of str
        A phrase for each kind of failed check, and of error.
    output : str
        What schemathesis printed.
    """

    cases: int
    faults: tuple[str, ...]
    output: str


def served_document(aggregator: Aggregator) -> dict[str, Any]:
    """Return the document of an aggregator."""
    answer = aggregator.get("/v1/openapi.json")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def storm(
    aggregator: Aggregator, document: Mapping[str, Any], folder: Path, *, header: Mapping[str, str], examples: int
) -> Storm:
    """Send requests until there are no more to think of.

    Parameters
    ----------
    aggregator : Aggregator
    document : Mapping
        What it is asked, and how it is to answer.
    folder : Path
        In ``bodies`` lie those that are sent as they are, among others.
    header : Mapping of str to str
        Of every request, but where a check leaves it away.
    examples : int
        The most cases of one operation in one phase.
    """
    written, report = folder / f"{aggregator.name}.json", folder / f"{aggregator.name}-report.json"
    written.write_text(json.dumps(document))
    flags = {"--url": aggregator.url, "--max-examples": str(examples), "--report-json-path": str(report)}
    words = [word for flag in flags.items() for word in flag]
    words += [word for name, value in header.items() for word in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_HERE / "schemathesis.toml")),
            *("run", str(written), "--no-color", *words),
        ],
        cwd=folder,
        env=_environment(folder / "bodies"),
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST,
    )
    output = done.stdout[-20_000:] + done.stderr[-5_000:]
    assert report.exists(), output
    said: dict[str, Any] = json.loads(report.read_text())
    report.unlink()
    faults = [f"{f['title']} ({f['type']}): {', '.join(f['operations'])}" for f in said["failures"]]
    faults += [error["title"] for error in said["errors"]]
    if done.returncode and not faults:
        faults = [f"schemathesis ended with status {done.returncode}"]
    return Storm(said["test_cases"]["generated"], tuple(faults), output)


def _environment(bodies: Path) -> dict[str, str]:
    return {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(_CHECKOUT),
        "PYTHONHASHSEED": "0",
        "SCHEMATHESIS_HOOKS": str(_HERE / "storm_bodies.py"),
        "FEDTIER_STORM_BODIES": str(bodies),
    }


class AtRest:
    """What an aggregator holds while nothing goes on, to be compared with what it holds after a storm.

    Parameters
    ----------
    aggregator : Aggregator
    """

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator
        self._before: Held = held_by(aggregator.serving_pid)

    def assert_again(self) -> None:
        """Wait until it holds no more than before, and has nothing left on disk."""
        try:
            self._aggregator.process.wait_until(lambda: not self._leaks(), f"{self._aggregator.name} rests")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._leaks()}") from None

    def _leaks(self) -> list[str]:
        return grown(self._before, held_by(self._aggregator.serving_pid)) + left_on_disk(self._aggregator)
