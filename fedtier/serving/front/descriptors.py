"""Descriptors that a serving process may have, and the connections that fit into them."""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Final

from fedtier.serving.front.limits import Limits

_OTHERS: Final = 128
"""Files and connections of the server's own; each thread may have two more."""


def limits_that_fit(limits: Limits, threads: int) -> Limits:
    """Return limits with as many connections as the process may have descriptors for; it gets as many as it may."""
    others = _OTHERS + 2 * threads + limits.files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + others
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(1, min(limits.connections, soft - others)))
