"""A round costs what it must: one more copy, sync, request or download of a model is found, on any machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.s3_servers import S3Server
from tests.system.costs.allowances import Line, byte_lines, request_lines, spent_lines
from tests.system.costs.rounds import Played, play

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def played(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("rounds"), s3_server, f"tests/{uuid.uuid4().hex}/model.safetensors")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(spent_lines, id="by each tier"),
        pytest.param(request_lines, id="in requests"),
        pytest.param(byte_lines, id="in bytes between tiers"),
    ],
)
def test_rounds_cost_no_more_than_they_must(played: Played, lines: Callable[[Played], Iterator[Line]]) -> None:
    counted = list(lines(played))
    assert any(line.counted for line in counted)
    too_much = [
        f"{line.what}: {line.counted:g}, allowed {line.allowed:g} ({line.why})" for line in counted if not line.is_kept
    ]
    assert not too_much
