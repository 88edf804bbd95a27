"""What has to follow by itself once the faults have ended: everyone takes part, and nothing is left of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.system.chaos.audit import Audit, Broken
from tests.system.chaos.leaks import Held, grown, held_by, least, left_on_disk
from tests.system.chaos.scene import BALANCED, CLIENTS, WORKERS
from tests.system.federation import PATIENCE
from tests.system.tree import Tree

_AGGREGATORS: Final = ("master", *WORKERS)
_ROUNDS: Final = 25
"""Peaceful rounds between two looks at what processes hold: a leak in one round of six shows."""
_SAMPLES: Final = 20
_POLL: Final = 0.05


def end_in_peace(tree: Tree, audit: Audit) -> None:
    """Let peaceful rounds follow; then let the clients end, and look at what is left.

    Raises
    ------
    Broken
    """
    number = tree.open_round()
    _await(lambda: _missing(tree, number))
    # Who was started again just now makes its connections, to S3 and from workers, one by one, and keeps them.
    tree.published(tree.open_round() + _ROUNDS)
    before = _all_hold(tree)
    tree.published(tree.open_round() + _ROUNDS)
    after = _all_hold(tree)
    leaking = {name: found for name in before if (found := grown(before[name], after[name]))}
    if leaking:
        raise Broken(f"after {_ROUNDS} peaceful rounds: {leaking}")
    for client_id in CLIENTS:
        tree.keepers[client_id].leave()
    audit.look(up_to=tree.open_round() - 1)
    audit.look_at_promises()
    _await(lambda: _left(tree))


def _missing(tree: Tree, number: int) -> str:
    """Say which clients nothing was promised since a round."""
    newest = tree.open_round()
    promised = {p.client_id for later in range(number, newest + 1) for p in tree.ledger.promises(later)}
    missing = sorted(set(CLIENTS) - promised)
    return f"{missing} do not take part any more\n{tree.log_ends()}" if missing else ""


def _left(tree: Tree) -> str:
    """Say what aggregators have left on disk."""
    left = {name: found for name in _AGGREGATORS if (found := left_on_disk(tree.federation[name]))}
    return f"left on disk: {left}" if left else ""


def _all_hold(tree: Tree) -> dict[str, Held]:
    pids = {name: tree.federation[name].serving_pid for name in _AGGREGATORS}
    pids |= {client_id: tree.keepers[client_id].program.process.pid for client_id in CLIENTS}
    samples = []
    for _ in range(_SAMPLES):
        samples.append(_sockets_together({name: held_by(pid) for name, pid in pids.items()}))
        threading.Event().wait(_POLL)
    return {name: least([sample[name] for sample in samples]) for name in samples[0]}


def _sockets_together(held: Mapping[str, Held]) -> dict[str, Held]:
    """Add up the sockets of the workers between which clients wander: each keeps its connection open for a while."""
    sockets = sum(held[name].get("socket", 0) for name in BALANCED)
    others = {name: {kind: count for kind, count in held[name].items() if kind != "socket"} for name in BALANCED}
    return {**held, **others, ", ".join(BALANCED): {"socket": sockets}}


def _await(wrong: Callable[[], str]) -> None:
    """Return once nothing is wrong."""
    deadline = time.monotonic() + 2 * PATIENCE
    while what := wrong():
        if time.monotonic() > deadline:
            raise Broken(what)
        threading.Event().wait(_POLL)
