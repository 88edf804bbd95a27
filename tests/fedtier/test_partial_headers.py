"""A partial's header is never longer than what is said of it before it is written."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.dtypes import Array
from fedtier.entries import read_partial
from fedtier.header import header_length
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT, contributor_bytes, contributors_room
from fedtier.rounds import Contributor, RoundPlan
from fedtier.sum_files import partial_metadata, write_sum
from tests.builders import make_plan, partial_entry, sum_of, trained
from tests.fedtier.round_documents import SHA

SPACES = 7
"""At the end of a header, at most."""
IDS = st.integers(1, 128).map(lambda length: ("a0._-Z" * 22)[:length])
NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\x00\n\x1f\x7f\u2028é€😀'), max_size=12)
NUMBERS = st.sampled_from([-sys.float_info.min, -sys.float_info.max, 1e15, -1e16, 1.5e-5, 0.1]) | st.floats(
    allow_nan=False, allow_infinity=False
)
CONTRIBUTORS = st.builds(
    Contributor,
    client_id=IDS,
    num_examples=st.integers(1, (1 << 63) - 1),
    sha256=st.just(SHA),
    metrics=st.dictionaries(NAMES, NUMBERS, max_size=5),
)
MODELS = st.dictionaries(
    NAMES.filter(lambda name: name != "__metadata__"),
    st.sampled_from(
        [
            np.zeros((), np.float32),
            np.ones((2, 0, 3), np.float32),
            np.linspace(-1, 1, 5, dtype=np.float64),
            np.array([0.5, 1e12], np.float32),
            np.array([np.nan], np.float32),
            np.array([200], np.uint8),
            np.array(7, np.int64),
        ]
    ),
    min_size=1,
    max_size=6,
)


def header_of(plan: RoundPlan, model: Mapping[str, Array], contributors: Iterable[Contributor]) -> bytes:
    """Return the header of a partial with these contributors, without the spaces at its end."""
    entry = replace(partial_entry("whose-body-is-not-read"), contributors=tuple(contributors))
    with tempfile.TemporaryDirectory() as folder:
        path = write_sum(sum_of(plan, [(model, 3)]), Path(folder) / "partial", partial_metadata([entry], 1)).path
        return path.read_bytes()[8 : 8 + header_length(path)].rstrip(b" ")


@settings(max_examples=40)
@given(MODELS, CONTRIBUTORS)
def test_no_header_without_its_contributors_is_longer_than_what_is_set_aside(
    model: dict[str, Array], contributor: Contributor
) -> None:
    plan = make_plan(model)
    most = PARTIAL_HEADER_LIMIT - contributors_room(plan) - SPACES
    bare = contributor.model_copy(update={"metrics": {}})
    assert len(header_of(plan, model, [bare])) <= most + contributor_bytes(bare)


@settings(max_examples=40)
@given(st.lists(CONTRIBUTORS, min_size=1, max_size=4))
def test_no_contributor_takes_more_of_a_header_than_it_is_counted_for(contributors: list[Contributor]) -> None:
    plan, model = make_plan(), trained(1)
    bare = [one.model_copy(update={"metrics": {}}) for one in contributors]
    frame = len(header_of(plan, model, bare)) - sum(map(contributor_bytes, bare))
    assert len(header_of(plan, model, contributors)) <= frame + sum(map(contributor_bytes, contributors))
    assert len(header_of(plan, model, bare[:1])) == frame + contributor_bytes(bare[0]), "without metrics it is exact"


def test_an_entry_says_how_much_its_contributors_take() -> None:
    entry = partial_entry("a", "bcd")
    assert entry.contributor_bytes == sum(map(contributor_bytes, entry.contributors)) > 2 * len(SHA)


def test_a_header_that_is_as_full_as_it_may_be_is_read(tmp_path: Path) -> None:
    plan = make_plan()
    awkward = {character * size: 1e15 for character in '"\\\x01' for size in range(1000, 1004)}
    left, contributors = contributors_room(plan), []
    for number in itertools.count():
        one = Contributor(client_id=f"client-{number}", num_examples=1, sha256=SHA, metrics=awkward)
        left -= contributor_bytes(one)
        if left < 0:
            break
        contributors.append(one)
    who, weight = tuple(contributors), len(contributors)
    entry = replace(partial_entry("whose-body-is-not-read"), contributors=who, total_weight=weight)
    total = sum_of(plan, [(trained(1), weight)])
    written = write_sum(total, tmp_path / "partial", partial_metadata([entry], 1))
    assert header_length(written.path) > 0.9 * PARTIAL_HEADER_LIMIT
    assert len(read_partial(plan, written).contributors) == len(contributors)
