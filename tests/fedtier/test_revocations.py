from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from fedtier.claims import unverified_claims
from fedtier.problems import StartupError, Unauthenticated
from fedtier.revocations import read_revocations
from fedtier.tokens import Bearer, TokenVerifier, generate_keys, make_token

SIGNING, PUBLIC = generate_keys()
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_a_line_is_a_subject_and_a_time() -> None:
    text = "# stolen\n\nclient-3\n  client-4 2026-11-25T12:00:00Z # new token at noon\nclient-5 2026-11-25T12:00\n"
    noon = NOON.timestamp()
    assert read_revocations(text, "a") == {"client-3": math.inf, "client-4": noon, "client-5": noon}
    assert read_revocations("", "a") == {}


def test_of_two_lines_the_stricter_one_counts() -> None:
    lines = ["client-3 2026-11-25T12:00Z", "client-3", "client-3 2026-11-25T13:00Z"]
    assert read_revocations("\n".join(lines), "a") == {"client-3": math.inf}
    assert read_revocations("\n".join(lines[::2]), "a") == {"client-3": (NOON + timedelta(hours=1)).timestamp()}


@pytest.mark.parametrize("line", ["client-3 noon", "client-3 2026-11-25T12:00Z and more", "a b c"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(StartupError, match="line 2 of the file is no revocation; write a subject"):
        read_revocations(f"client-1\n{line}\n", "the file")


def test_a_token_that_was_signed_after_the_revocation_is_good() -> None:
    now = datetime.now(UTC)
    verifier = TokenVerifier([PUBLIC], revoked={"client-3": (now - timedelta(minutes=5)).timestamp()})
    bearer = Bearer("client", "client-3")

    def signed(minutes: int, subject: str = "client-3") -> str:
        at = now - timedelta(minutes=minutes)
        return make_token(SIGNING, Bearer("client", subject), now=at, lifetime=timedelta(days=1))

    assert verifier.verify(signed(4)) == bearer
    assert verifier.verify(signed(6, "client-4")).subject == "client-4"
    claims = {name: claim for name, claim in unverified_claims(signed(4)).items() if name != "iat"}
    undated = jwt.encode(claims, SIGNING, "EdDSA", headers=jwt.get_unverified_header(signed(4)))
    for text in (signed(6), undated):
        with pytest.raises(Unauthenticated, match="the tokens of 'client-3' are revoked"):
            verifier.verify(text)
