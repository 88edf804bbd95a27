from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import worker_aggregator.command
from fedtier.serving.runner import ServerOptions


@pytest.mark.parametrize(("batch_max", "files"), [("7", 7), ("64", 64), ("5000", 72)])
def test_descriptors_are_kept_for_the_files_of_a_batch_but_no_more_than_requests_can_bring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, batch_max: str, files: int
) -> None:
    served: list[ServerOptions] = []

    def serve(options: ServerOptions, build: Callable[[], object]) -> None:
        served.append(options)

    monkeypatch.setattr(worker_aggregator.command, "serve", serve)
    words = ["--master", "http://127.0.0.1:1", "--state-dir", str(tmp_path), "--batch-max", batch_max]
    done = CliRunner().invoke(worker_aggregator.command.worker, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [options.limits.files for options in served] == [files]
