"""All keys of a federation lie below one prefix, and a key that gives none is refused."""

from __future__ import annotations

import pytest

from fedtier.round_keys import RoundKeys

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("jobs/mnist.safetensors", "jobs/mnist"),
        ("mnist.safetensors", "mnist"),
        ("a/b.c/d.e.safetensors", "a/b.c/d.e"),
        ("a/.hidden.safetensors", "a/.hidden"),
        ("x.y", "x"),
    ],
)
def test_a_federation_s_keys_lie_below_its_bucket_key(key: str, prefix: str) -> None:
    keys = RoundKeys(key)
    assert (keys.copy, keys.prefix, keys.head) == (key, prefix, f"{prefix}/head.json")
    assert keys.model(7, SHA) == f"{prefix}/rounds/000007/model-{SHA}.safetensors"
    assert keys.manifest(1_234_567, SHA) == f"{prefix}/rounds/1234567/manifest-{SHA}.json"


@pytest.mark.parametrize(
    "key",
    [
        *("", "mnist", ".safetensors", "mnist.", "jobs/.safetensors", "a.b/mnist", "/jobs/mnist.st", "jobs//mnist.st"),
        *("jobs/", "../mnist.st", "jobs/./mnist.st", "jobs/../mnist.st", ".", "..", "...", "jobs/...st"),
    ],
)
def test_a_key_that_gives_no_prefix_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form path/name\.safetensors; its path") as refused:
        RoundKeys(key)
    assert repr(key) in str(refused.value)
