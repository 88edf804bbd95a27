"""Where the initial model comes from, and what is said where it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fedtier.problems import StartupError
from fedtier.store import RoundStore
from master_aggregator.initial import publish_initial_model
from tests.builders import trained, update_bytes
from tests.client.loopback import Reply, serve

LIMIT = 1 << 28


@pytest.fixture
def store(s3_environment: Mapping[str, str], bucket: str, bucket_key: str) -> RoundStore:
    return RoundStore(bucket, bucket_key)


def test_a_model_at_a_url_becomes_round_0(store: RoundStore) -> None:
    with serve(lambda _: Reply(200, update_bytes(trained(1), 1))) as url:
        assert publish_initial_model(store, f"{url}/model.safetensors", LIMIT) is None
    head = store.read_head()
    assert head is not None
    assert head.head.round == 0


def test_what_may_be_secret_in_a_url_is_not_shown(store: RoundStore) -> None:
    with serve(lambda _: Reply(403)) as url, pytest.raises(StartupError) as refused:
        publish_initial_model(store, f"{url.replace('//', '//user:pa55@')}/model.safetensors?X-Signature=s1gned", LIMIT)
    sentence = str(refused.value)
    assert f"{url}/model.safetensors cannot be fetched: the server answers 403" in sentence
    assert "pa55" not in sentence
    assert "s1gned" not in sentence


def test_a_server_that_is_not_there_is_named_with_the_reason(store: RoundStore) -> None:
    with serve(lambda _: Reply()) as url:
        pass
    with pytest.raises(StartupError, match=r"cannot be fetched: .*[Rr]efused"):
        publish_initial_model(store, f"{url}/model.safetensors?token=s3cret", LIMIT)
