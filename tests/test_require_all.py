"""What could not run is told by name, and fails where everything must run, in one process and spread over several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.fixture
def missing():
    pytest.skip("no server")

def test_runs(): pass
def test_needs_a_server(missing): pass
def test_asks_for_more(): pytest.skip("no memory")
@pytest.mark.skipif(True, reason="no Linux")
def test_of_linux(): pass
@pytest.mark.xfail
def test_that_is_known_to_fail(): assert False
"""
MODULE = "import pytest\npytest.importorskip('not_installed')\n"
TOLD = ("test_needs_a_server (no server)", "test_asks_for_more (no memory)", "test_of_linux (no Linux)")


@pytest.fixture(params=["0", "2"], ids=["in one process", "in two"])
def processes(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def run_tests(folder: Path, processes: str, *, required: bool) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("FEDTIER_", "PYTEST_"))}
    spread = ("-n", processes, "--dist", "worksteal")
    places = ("--rootdir", str(folder), "--basetemp", str(folder / "temporary"))  # not where others leave things
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.require_all", *spread, *places, str(folder)],
        cwd=folder,
        env=variables | {"PYTHONPATH": str(ROOT)} | ({"FEDTIER_REQUIRE_ALL": "1"} if required else {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_could_not_run_is_told_in_one_line(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE)
    done = run_tests(tmp_path, processes, required=False)
    assert done.returncode == 0, done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("could not run here: ")]
    for told in (*TOLD, "test_module.py (could not import 'not_installed'"):
        assert told in line
    assert "1 passed, 4 skipped, 1 xfailed in " in done.stdout


def test_what_could_not_run_fails_where_everything_must(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    done = run_tests(tmp_path, processes, required=True)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed, 1 xfailed, 2 errors in " in done.stdout
    assert "FEDTIER_REQUIRE_ALL=1, but it could not run: no memory" in done.stdout


def test_a_module_that_could_not_run_fails_where_everything_must(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_module.py").write_text(MODULE)
    done = run_tests(tmp_path, processes, required=True)
    assert done.returncode != 0, done.stdout
    assert "FEDTIER_REQUIRE_ALL=1, but it could not run: could not import 'not_installed'" in done.stdout
