from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from fedtier.problems import NotFound, Problem, SlowDown, Unavailable
from fedtier.serving.answers import answer_problem
from fedtier.serving.downloads import SMALL_ANSWER, Downloads, ModelElsewhere, ModelFile
from fedtier.serving.shares import TransferSlots

BODY = bytes(range(256)) * 1000


def client_of(find: Callable[[int], ModelFile | ModelElsewhere], slots: TransferSlots) -> FlaskClient:
    app = Flask(__name__)
    downloads = Downloads(find, slots)
    app.register_error_handler(Problem, answer_problem)
    app.add_url_rule("/<int:round_number>", view_func=downloads.model)
    return app.test_client()


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "model"
    path.write_bytes(BODY)
    return ModelFile(path, "a" * 64)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"Range": "bytes=5-9"}, 206),
        ("GET", {"Range": "bytes=999999999-"}, 416),
        ("GET", {"If-None-Match": '"' + "a" * 64 + '"'}, 304),
    ],
)
def test_the_slot_is_free_again_once_a_model_was_sent(
    model: ModelFile, method: str, headers: dict[str, str], status: int
) -> None:
    http = client_of(lambda _: model, TransferSlots(1))
    for _ in range(3):
        with http.open("/1", method=method, headers=headers) as answer:
            assert answer.status_code == status
            assert answer.data == {("GET", 200): BODY, ("GET", 206): BODY[5:10]}.get((method, status), answer.data)


def test_the_slot_is_free_again_after_a_redirect_and_after_a_refusal() -> None:
    def find(number: int) -> ModelElsewhere:
        if number == 1:
            return ModelElsewhere("http://127.0.0.1:1/model")
        raise NotFound("no such round")

    http = client_of(find, TransferSlots(1))
    for _ in range(2):
        answer = http.get("/1")
        assert (answer.status_code, answer.headers["Location"]) == (307, "http://127.0.0.1:1/model")
        answer.close()
        assert http.get("/2").status_code == 404


def test_a_model_is_refused_at_once_while_every_slot_is_taken(model: ModelFile) -> None:
    slots = TransferSlots(1)
    http = client_of(lambda _: model, slots)
    with slots.take(None):
        assert http.get("/1").status_code == Unavailable.status
    assert http.get("/1").status_code == 200


def test_a_model_that_was_let_go_of_between_finding_and_opening_is_found_again(
    model: ModelFile, tmp_path: Path
) -> None:
    found = iter([ModelFile(tmp_path / "gone", "a" * 64), model])
    assert client_of(lambda _: next(found), TransferSlots(1)).get("/1").data == BODY


def test_a_small_answer_needs_no_slot_and_a_large_one_has_one_until_it_was_sent() -> None:
    slots, sizes = TransferSlots(1), {"small": SMALL_ANSWER, "large": SMALL_ANSWER + 1}
    downloads = Downloads(_nothing, slots)
    app = Flask(__name__)
    app.register_error_handler(Problem, answer_problem)
    app.add_url_rule("/<size>", "size", lambda size: downloads.small(Response(bytes(sizes[size]))))
    http = app.test_client()
    with http.get("/large") as answer:
        assert answer.status_code == 200
        assert http.get("/small").status_code == 200
        assert http.get("/large").status_code == Unavailable.status
    assert http.get("/large").status_code == 200


def test_an_answer_without_a_body_needs_no_slot() -> None:
    slots = TransferSlots(1)
    unchanged = Response(bytes(SMALL_ANSWER + 1), status=304)
    with slots.take(None):
        assert Downloads(_nothing, slots).small(unchanged) is unchanged


def test_one_client_downloads_no_more_than_its_share_at_once(model: ModelFile) -> None:
    slots = TransferSlots(64, share=1)
    downloads = Downloads(lambda _: model, slots)
    with Flask(__name__).test_request_context():
        first = downloads.model(1, "a")
        with pytest.raises(SlowDown):
            downloads.model(1, "a")
        downloads.model(1, "b").close()
        first.close()


def _nothing(_: int) -> ModelFile:
    raise AssertionError("nobody asks for a model")
