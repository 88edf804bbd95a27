"""How long a partial's header gets, before it is written: it names every contributor, within JSON within JSON."""

from __future__ import annotations

import json
from typing import Final

from fedtier.rounds import Contributor, RoundPlan

PARTIAL_KEY: Final = "partial"
PARTIAL_HEADER_LIMIT: Final = 16 << 20
"""Some 80,000 contributors; parsing a header takes up to twenty times its length in memory."""
_PADDED_FRAME: Final = 256
"""Of the header without tensors and contributors: the names of its members, two counts, spaces at its end."""
_TENSOR_PART: Final = 64
"""By which one part of a tensor's sum takes more than the tensor: ``.lo``, eight limbs, offsets of 19 digits each."""
_CONTRIBUTOR: Final = 134
"""Names of the members, quotes, a SHA-256, a comma."""
_METRIC: Final = 30
"""Quotes, a colon, a comma, and a number of at most 24 characters."""


def contributors_room(plan: RoundPlan) -> int:
    """Return how many bytes of a partial's header contributors may take; none are left where that is not positive.

    Whatever the sum is: the header of a partial whose contributors take no more, by `contributor_bytes`, is no longer
    than `PARTIAL_HEADER_LIMIT`.
    """
    tensors = plan.header_bytes + _TENSOR_PART * len(plan.tensors)
    return PARTIAL_HEADER_LIMIT - _PADDED_FRAME - 2 * tensors


def contributor_bytes(contributor: Contributor) -> int:
    """Return how many bytes a contributor takes of a partial's header at most; without metrics it is exact."""
    own = _CONTRIBUTOR + len(contributor.client_id) + len(str(contributor.num_examples))
    return own + sum(_METRIC + _escaped_bytes(name) for name in contributor.metrics)


def _escaped_bytes(name: str) -> int:
    """Return the bytes of a name in JSON within JSON."""
    if name.isidentifier():  # nearly all are, and have nothing to escape
        return len(name.encode())
    return len(_json(_json(name)).encode()) - len(_json(_json("")))


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
