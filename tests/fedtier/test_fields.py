"""What comes as text beside a document is read by the rules of the documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.fields import parse_metrics, parse_num_examples, require_id, sha256_hex
from fedtier.problems import BadRequest, OutOfRange
from fedtier.rounds import Contributor
from tests.fedtier.round_documents import SHA, contributor


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("600", 600), ("9" * 18, 10**18 - 1)])
def test_num_examples_is_read(text: str, number: int) -> None:
    assert parse_num_examples(text) == number


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e3",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "\u0663",
        "\uff11",
        "true",
        "a" * 10_000,
    ],
)
def test_num_examples_is_a_plain_whole_number(text: str | None) -> None:
    with pytest.raises(BadRequest, match=r"num_examples is .* not a whole number from 1") as refused:
        parse_num_examples(text)
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("digits", [19, 5000])
def test_num_examples_beyond_any_round_is_out_of_range(digits: int) -> None:
    with pytest.raises(OutOfRange, match=f"has {digits} digits"):
        parse_num_examples("1" * digits)


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.floats(allow_nan=False, allow_infinity=False))
)
@settings(max_examples=60, deadline=None)
def test_metrics_are_read_in_the_order_of_their_names(metrics: dict[str, float]) -> None:
    text = json.dumps(metrics)
    if len(text) > 4096:
        with pytest.raises(BadRequest, match="more than 4096 bytes"):
            parse_metrics(text)
        return
    parsed = parse_metrics(text)
    assert parsed == metrics
    assert list(parsed) == sorted(metrics)
    made = Contributor(client_id="a", num_examples=1, sha256=SHA, metrics=parsed)
    assert Contributor.from_json(made.to_json()).metrics == metrics


def test_metrics_may_be_absent_empty_or_whole_numbers() -> None:
    assert parse_metrics(None) == {}
    assert parse_metrics("{}") == {}
    assert parse_metrics('{"steps": 12}') == {"steps": 12.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "nothing", "[]", "1", "null", '"a"', "\ud800", "[" * 4000, '{"a":' * 800),
        *('{"a": "1"}', '{"a": null}', '{"a": true}', '{"a": [1]}', '{"a": {"b": 1}}'),
        *('{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e999}'),
        *('{"a": 1' + "0" * 400 + "}", '{"a": 1' + "0" * 4080 + "}", '{"\\ud800": 1}', '{"\\ud800": "x"}'),
    ],
)
def test_metrics_are_a_flat_object_of_finite_numbers(text: str) -> None:
    with pytest.raises(BadRequest, match="the metadata metrics is n") as refused:
        parse_metrics(text)
    assert len(refused.value.detail.encode()) < 300


def test_metrics_are_limited_in_bytes() -> None:
    parse_metrics('{"' + "a" * 4090 + '":1}')
    for name in ("a" * 4091, "é" * 2046):
        with pytest.raises(BadRequest, match="more than 4096 bytes"):
            parse_metrics('{"' + name + '":1}')


@pytest.mark.parametrize("client_id", ["a", "0", "client-3", "A.b_c-d", "a" * 128])
def test_a_good_client_id_is_returned(client_id: str) -> None:
    assert require_id(client_id, "client") == client_id
    assert contributor(client_id).client_id == client_id


@pytest.mark.parametrize(
    "client_id", ["", ".a", "-a", "_a", "a/b", "a b", "a\n", "\na", "é", "a" * 129, "a" * 10_000, "..", "\0", "\ud800"]
)
def test_a_bad_client_id_is_refused(client_id: str) -> None:
    with pytest.raises(BadRequest, match=r"the client id .* does not match") as refused:
        require_id(client_id, "client")
    assert len(refused.value.detail.encode()) < 300


def test_sha256_is_in_hex() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
