from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.bucket import connect
from fedtier.evaluations import Confusion, Evaluation
from fedtier.problems import BadRequest
from fedtier.round_keys import RoundKeys
from fedtier.store import RoundStore, StoreCorrupt

EVALUATION = Evaluation(
    round=3,
    model_sha256="a" * 64,
    task="digits.Net",
    basis="b" * 64,
    examples=6,
    metrics={"loss": 0.1, "accuracy": 5 / 6},
    confusion=Confusion(labels=("cat", "dog", "fox"), counts=((2, 1, 0), (0, 3, 0), (0, 0, 0))),
)


def squares(size: int) -> st.SearchStrategy[list[list[int]]]:
    row = st.lists(st.integers(0, 1 << 40), min_size=size, max_size=size)
    return st.lists(row, min_size=size, max_size=size)


class TestDocuments:
    def test_it_comes_back_as_it_went(self) -> None:
        assert Evaluation.from_json(EVALUATION.to_json()) == EVALUATION

    def test_a_member_of_a_later_version_is_skipped(self) -> None:
        later = json.loads(EVALUATION.to_json()) | {"calibration": 0.9}
        assert Evaluation.from_json(json.dumps(later)) == EVALUATION

    def test_a_class_without_examples_has_no_accuracy(self) -> None:
        assert EVALUATION.confusion is not None
        assert EVALUATION.confusion.class_accuracies == (2 / 3, 1.0, None)

    @given(st.integers(2, 6).flatmap(squares))
    def test_accuracies_of_classes_weighted_by_examples_are_the_accuracy(self, counts: list[list[int]]) -> None:
        confusion = Confusion(labels=tuple(map(str, range(len(counts)))), counts=tuple(map(tuple, counts)))
        right = sum(
            (accuracy or 0) * sum(row) for accuracy, row in zip(confusion.class_accuracies, counts, strict=True)
        )
        assert right == pytest.approx(sum(counts[number][number] for number in range(len(counts))))

    @pytest.mark.parametrize(
        ("member", "value"),
        [
            ("round", -1),
            ("round", "3"),
            ("model_sha256", "A" * 64),
            ("basis", "b" * 63),
            ("examples", 0),
            ("metrics", {"loss": "low"}),
            ("metrics", {"loss": None}),
            ("confusion", {"labels": ["one"], "counts": [[1]]}),
            ("confusion", {"labels": ["cat", "dog"], "counts": [[1, 0]]}),
            ("confusion", {"labels": ["cat", "dog"], "counts": [[1, 0], [1]]}),
            ("confusion", {"labels": ["cat", "dog"], "counts": [[1, 0], [1, -1]]}),
            ("confusion", {"labels": ["cat", "dog"], "counts": [[1, 0], [1, 0.5]]}),
        ],
    )
    def test_what_is_no_evaluation_names_the_member(self, member: str, value: Any) -> None:
        wrong = json.loads(EVALUATION.to_json()) | {member: value}
        with pytest.raises(BadRequest, match=f"^not a Evaluation document: {member}"):
            Evaluation.from_json(json.dumps(wrong))

    def test_a_loss_that_is_no_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            Evaluation.model_validate(dict(EVALUATION) | {"metrics": {"loss": float("nan")}})


@pytest.mark.system
class TestStore:
    @pytest.fixture
    def store(self, s3_environment: Mapping[str, str], bucket: str, bucket_key: str) -> RoundStore:
        return RoundStore(bucket, bucket_key)

    @pytest.fixture
    def key(self, bucket_key: str) -> str:
        return RoundKeys(bucket_key).evaluation(3, "a" * 64)

    def test_a_round_that_nobody_tested_has_none(self, store: RoundStore) -> None:
        assert store.read_evaluation(3, "a" * 64) is None

    def test_the_last_writer_wins(self, store: RoundStore) -> None:
        store.put_evaluation(EVALUATION)
        assert store.read_evaluation(3, "a" * 64) == EVALUATION
        later = EVALUATION.model_copy(update={"basis": "c" * 64})
        store.put_evaluation(later)
        assert store.read_evaluation(3, "a" * 64) == later

    def test_each_model_of_a_round_has_its_own(self, store: RoundStore) -> None:
        store.put_evaluation(EVALUATION)
        store.put_evaluation(EVALUATION.model_copy(update={"model_sha256": "d" * 64, "examples": 7}))
        assert store.read_evaluation(3, "a" * 64) == EVALUATION

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", EVALUATION.to_json()[:-1], b"[" * 100_000])
    def test_bytes_that_are_none_are_corruption_and_can_be_replaced(
        self, store: RoundStore, bucket: str, key: str, data: bytes
    ) -> None:
        connect().put_object(Bucket=bucket, Key=key, Body=data)
        with pytest.raises(StoreCorrupt, match=f"{key} is no evaluation: "):
            store.read_evaluation(3, "a" * 64)
        store.put_evaluation(EVALUATION)
        assert store.read_evaluation(3, "a" * 64) == EVALUATION

    @pytest.mark.parametrize("other", [{"round": 4}, {"model_sha256": "d" * 64}])
    def test_what_was_moved_from_another_model_is_corruption(
        self, store: RoundStore, bucket: str, key: str, other: dict[str, Any]
    ) -> None:
        connect().put_object(Bucket=bucket, Key=key, Body=EVALUATION.model_copy(update=other).to_json())
        with pytest.raises(StoreCorrupt, match="is the evaluation of another model"):
            store.read_evaluation(3, "a" * 64)
