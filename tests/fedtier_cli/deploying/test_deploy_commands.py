"""``fedtier deploy`` and ``fedtier destroy`` as a user calls them, up to the point at which machines are touched."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedtier_cli.main import main
from tests.fedtier_cli.deploying.lab import lab
from tests.fedtier_cli.deploying.tiny_terraform import needs_terraform
from tests.fedtier_cli.runs import facts_of

pytestmark = pytest.mark.infra


def fedtier(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_where_nobody_can_be_asked_yes_is_wanted(tmp_path: Path) -> None:
    inventory = str(lab(tmp_path, {"one": ["client-0"]}))
    for flags in ((), ("--json",)):
        done = fedtier("deploy", "hosts", "--inventory", inventory, *flags)
        assert done.exit_code == 1
        assert "set up these hosts as the federation fedtier? Nobody can be asked here; give --yes" in done.stderr
    assert [host["host"] for host in facts_of(done.stdout, "host")] == ["server", "one"]


def answered(inventory: Path, answer: bytes) -> tuple[int, str]:
    """Call ``fedtier deploy hosts`` on a terminal, answer what it asks, and return its status and what it printed."""
    ours, theirs = pty.openpty()
    call = [sys.executable, "-P", "-m", "fedtier_cli.main", "deploy", "hosts", "--inventory", str(inventory)]
    process = subprocess.Popen(
        call, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    )
    os.close(theirs)
    printed = b""
    while b"[y/N]" not in printed:
        printed += os.read(ours, 4096)
    os.write(ours, answer)
    try:
        while more := os.read(ours, 4096):
            printed += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(), printed.decode(errors="replace")


def test_a_person_is_shown_the_hosts_and_asked(tmp_path: Path) -> None:
    status, printed = answered(lab(tmp_path, {"one": ["client-0"]}), b"n\n")
    assert status == 1
    assert "clients (client-0)" in printed
    assert "set up these hosts as the federation fedtier? [y/N]" in printed
    assert "Error: nothing was changed, as you said" in printed


@needs_terraform
@pytest.mark.parametrize("words", [("deploy", "aws"), ("destroy",)])
def test_without_the_bucket_for_the_state_nothing_is_begun(words: tuple[str, ...]) -> None:
    done = fedtier(*words, "--yes")
    assert done.exit_code == 2
    assert "Missing option '--state-bucket'" in done.stderr


def test_a_wheel_has_no_playbooks_and_says_so(tmp_path: Path) -> None:
    inventory = lab(tmp_path, {"one": ["client-0"]})
    code = (
        "import fedtier_cli.deploying.checkout as checkout; from pathlib import Path; "
        f"checkout.__file__ = {str(tmp_path / 'site-packages' / 'fedtier_cli' / 'deploying' / 'checkout.py')!r}; "
        f"from fedtier_cli.main import main; main(['deploy', 'hosts', '--inventory', {str(inventory)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "other machines are set up from a checkout of fedtier, and this is an installed package" in done.stderr
