"""What tells of clients' data is the owner's alone, also where the folder around it is open and the umask is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from client.updates import SavedUpdates, make_directory
from fedtier.dtypes import TensorSpec
from fedtier.serving.statedir import StateDirectory
from fedtier_cli.rundir import claimed
from master_aggregator.events_file import EventsFile
from master_aggregator.journal import Journal
from tests.builders import make_plan

pytestmark = pytest.mark.usefixtures("no_umask")


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_folder(parent: Path) -> Path:
    """Return a folder that everybody may look into, as a system's own may be."""
    folder = parent / "open"
    folder.mkdir(mode=0o755)
    return folder


def test_a_client_s_update_is_its_own(tmp_path: Path) -> None:
    make_directory(tmp_path / "new" / "client-0")
    assert mode(tmp_path / "new" / "client-0") == 0o700

    folder = open_folder(tmp_path)
    make_directory(folder)
    updates = SavedUpdates(folder)
    arrays = {"w": np.zeros(1, np.float32)}
    saved = updates.save((1, "0" * 64), arrays, [TensorSpec("w", "F32", (1,))], num_examples=1, metrics={})
    assert mode(updates.path(saved)) == 0o600


def test_an_aggregator_s_spool_and_models_are_its_own(tmp_path: Path) -> None:
    for path in (tmp_path / "new", open_folder(tmp_path)):
        state = StateDirectory(path)
        assert {mode(state.spool), mode(state.models)} == {0o700}
        assert mode(path / "lock") == 0o600
        state.close()
    assert mode(tmp_path / "new") == 0o700


def test_a_master_s_journal_and_what_tensorboard_reads_are_its_own(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    journal = Journal.create(folder, make_plan(), datetime.now(UTC), pytest.fail)
    assert mode(journal.folder) == 0o700
    events = EventsFile(folder / "tensorboard")
    events.close()
    assert mode(folder / "tensorboard") == 0o700


def test_a_run_directory_is_its_user_s(tmp_path: Path) -> None:
    with claimed(open_folder(tmp_path) / "mnist_cnn") as run:
        assert mode(run.path) == 0o700
