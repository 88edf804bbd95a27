"""Runs a compiled pipeline on this machine, each task as a process of its own: `python -m ... RUN.json`.

A program, since KFP's local runner keeps its settings for a whole process, and ends with whoever started it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp import components, local


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What is run, and where.

    Parameters
    ----------
    pipeline : str
        Path of the compiled pipeline.
    arguments : dict
    workspace : str
        The volume of all tasks, which is gone afterwards.
    outputs : str
        Where artifacts are left.
    """

    pipeline: str
    arguments: dict[str, Any]
    workspace: str
    outputs: str

    def write(self, path: Path) -> None:
        """Write it for this program."""
        path.write_text(json.dumps(asdict(self)))

    def run(self) -> None:
        """Run it; a failure is an error."""
        Path(self.workspace).mkdir()
        runner = local.SubprocessRunner(use_venv=False)
        local.init(runner=runner, pipeline_root=self.outputs, workspace_root=self.workspace)
        components.load_component_from_file(self.pipeline)(**self.arguments)


def main() -> None:
    """Run what a file says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    LocalRun(**json.loads(parser.parse_args().run.read_text())).run()


if __name__ == "__main__":
    main()
