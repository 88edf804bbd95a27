"""Hostile files are refused, leave nothing behind and do not change what is published."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import trained, update_bytes
from tests.hostile.make import hostile_files
from tests.master_aggregator.answers import GOOD, assert_mean, partial_of
from tests.masters import Master, put


@pytest.mark.parametrize("what", ["updates", "partials"])
def test_hostile_files_are_refused_and_leave_nothing(undisturbed: Master, what: str) -> None:
    for name, hostile in hostile_files().items():
        answer = put(undisturbed.http, f"/v1/rounds/1/{what}/a", hostile.data)
        assert answer.status_code in {400, 413, 422}, (name, answer.status_code)
        assert answer.content_type == "application/problem+json", name
        assert undisturbed.leftovers == [], name


def test_many_refusals_leave_the_published_mean_as_it_is(master: Master) -> None:
    master.send_update("a", GOOD)
    for hostile in hostile_files().values():
        master.send_update("b", hostile.data)
    master.send_update("c", update_bytes(trained(2) | {"conv.bias": np.array([np.nan, 0], np.float32)}))
    master.send_partial(partial_of(master, 3, 3 + 1, header={"total_weight": 1}))
    master.send_update("d", update_bytes(trained(2), 30))
    master.await_round(2)
    assert_mean(master.http.get("/v1/rounds/1/model").data, [(trained(1), 10), (trained(2), 30)])
    assert master.leftovers == []
