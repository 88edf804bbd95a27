from __future__ import annotations

import pytest

from fedtier.problems import BadRequest
from fedtier.serving.digests import parse_content_digest
from fedtier.upstream import content_digest

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "field",
    [
        content_digest(DIGEST),
        f"  {content_digest(DIGEST)}  ",
        f"md5=:AAAA:, {content_digest(DIGEST)}",
        f"{content_digest(DIGEST)}, sha-512=:AAAA:",
    ],
)
def test_the_sha_256_is_found(field: str) -> None:
    assert parse_content_digest(field) == DIGEST


@pytest.mark.parametrize("field", [None, "sha-512=:AAAA:"])
def test_a_field_without_sha_256_names_none(field: str | None) -> None:
    assert parse_content_digest(field) is None


@pytest.mark.parametrize(
    "field",
    [
        "",
        "sha-256",
        "sha-256=abc",
        "sha-256=::",
        "sha-256=:AAAA:",
        content_digest(DIGEST)[:-1],
        content_digest(DIGEST) + ",",
        content_digest(DIGEST).replace("=:", "=", 1),
        f"sha-256=:{'A' * 44}:",
        "sha-256=:" + "A" * 100_000 + ":",
        "SHA-256=:AAAA:",
    ],
)
def test_a_malformed_field_is_refused(field: str) -> None:
    with pytest.raises(BadRequest, match=r"Content-Digest (is|has)"):
        parse_content_digest(field)
