"""What is no document is refused; documents do not change, and those of later versions can be read."""

from __future__ import annotations

import json

import pytest

from fedtier.documents import json_object
from fedtier.rounds import Contributor, PartialHeader, RoundPlan
from tests.fedtier.round_documents import PLAN, contributor, refusal


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"\\ud800":1}', b'{"client_id":"\\ud800"}', "\ud800"]
)
def test_what_is_not_json_is_refused(data: bytes | str) -> None:
    assert "not a Contributor document: " in refusal(Contributor, data)


def test_documents_of_a_later_version_are_read_but_received_ones_are_strict() -> None:
    plan = json.loads(RoundPlan(**PLAN).to_json())
    assert RoundPlan.from_json(json.dumps({**plan, "codec": "q8"})) == RoundPlan(**PLAN)
    sent = json.loads(PartialHeader(attempt=1, total_weight=600, contributors=(contributor(),)).to_json())
    PartialHeader.from_json(json.dumps(sent))
    assert "codec" in refusal(PartialHeader, json.dumps({**sent, "codec": "q8"}))


def test_a_document_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        contributor().num_examples = 5  # type: ignore[misc]  # what is tested


def test_json_that_is_no_object_reads_as_an_empty_one() -> None:
    assert json_object(b'{"a": [1]}') == {"a": [1]}
    for data in (b"", b"[1]", b"null", b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 5000):
        assert json_object(data) == {}
