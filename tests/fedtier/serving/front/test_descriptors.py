from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from fedtier.serving.front.descriptors import limits_that_fit
from fedtier.serving.front.limits import Limits
soft, hard, connections, files = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(limits_that_fit(Limits(connections=connections, files=files), threads=10).connections)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "files", "fitting", "had"),
    [
        pytest.param(500, 500, 100, 0, 100, 500, id="all fit"),
        pytest.param(200, 500, 100, 0, 100, 248, id="it gets as many as it needs"),
        pytest.param(200, 500, 400, 0, 352, 500, id="it gets as many as it may"),
        pytest.param(200, 500, 400, 64, 288, 500, id="files of bodies go first"),
        pytest.param(200, 500, 100, 64, 100, 312, id="files of bodies are asked for"),
        pytest.param(200, 200, 100, 640, 1, 200, id="one is left"),
    ],
)
def test_connections_leave_room_for_other_files(
    soft: int, hard: int, connections: int, files: int, fitting: int, had: int
) -> None:
    words = [sys.executable, "-c", PROGRAM, *map(str, (soft, hard, connections, files))]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(fitting), str(had), str(hard)]
