"""Problems: each becomes its document and the same exception again at the caller."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fedtier import problems
from fedtier.problems import AlreadyCounted, NotFinite, Problem, Unavailable, problem_from_document


def all_problems() -> list[type[Problem]]:
    found = [value for value in vars(problems).values() if isinstance(value, type) and issubclass(value, Problem)]
    return [kind for kind in found if kind is not Problem]


PROTOCOL = {
    400: ["bad-request"],
    401: ["unauthenticated"],
    403: ["forbidden"],
    404: ["not-found"],
    405: ["method-not-allowed"],
    409: ["round-over", "round-not-open", "attempt-over", "already-counted", "not-selected", "weight-limit"],
    411: ["length-required"],
    413: ["too-large"],
    415: ["unsupported-media-type"],
    416: ["range-not-satisfiable"],
    422: [
        *("not-safetensors", "schema-mismatch", "digest-mismatch"),
        *("not-finite", "out-of-range", "duplicate-contributors"),
    ],
    429: ["slow-down"],
    503: ["unavailable"],
}


def test_statuses_and_names_are_the_protocol_s() -> None:
    expected = {(status, name) for status, names in PROTOCOL.items() for name in names}
    assert {(kind.status, kind.name) for kind in all_problems()} == expected
    assert len(all_problems()) == len(expected)


@pytest.mark.parametrize("kind", all_problems(), ids=lambda kind: kind.name)
def test_a_problem_comes_back_from_its_document(kind: type[Problem]) -> None:
    problem = kind("what, the value seen, what to do", retry_after=1.5, round=7, attempt=12)
    document = json.loads(json.dumps(problem.document()))
    assert document == {
        "type": f"urn:fedtier:problem:{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": "what, the value seen, what to do",
        "round": 7,
        "attempt": 12,
    }
    again = problem_from_document(document, retry_after=1.5)
    assert type(again) is kind
    assert str(again) == again.detail == problem.detail
    assert again.members == {"round": 7, "attempt": 12}
    assert again.retry_after == 1.5
    assert again.document() == problem.document()


def test_titles_tell_problems_apart() -> None:
    assert len({kind.title for kind in all_problems()}) == len(all_problems())


def test_members_come_back_as_they_were() -> None:
    counted = [{"client_id": "client-3", "sha256": "00"}]
    again = problem_from_document(AlreadyCounted("counted before", counted=counted).document())
    assert again.members == {"counted": counted}
    again = problem_from_document(NotFinite("NaN", tensor="w", index=[0, 2], value="nan").document())
    assert again.members == {"tensor": "w", "index": [0, 2], "value": "nan"}


@pytest.mark.parametrize(
    "document",
    [{}, {"type": "about:blank"}, {"type": None, "detail": None}, {"type": ["a"]}, {"type": "urn:fedtier:problem:new"}],
    ids=str,
)
def test_a_document_of_another_kind_is_a_plain_problem(document: dict[str, Any]) -> None:
    problem = problem_from_document(document)
    assert type(problem) is Problem
    assert problem.members == {}
    assert problem.detail


def test_members_cannot_hide_what_a_problem_is() -> None:
    document = Unavailable("later", type="x", title="x", status=200).document()
    assert (document["type"], document["status"]) == ("urn:fedtier:problem:unavailable", 503)
    assert document["title"] == Unavailable.title
