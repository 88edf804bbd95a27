"""What must hold of a federation, whatever happens to it, as seen from outside."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final, TypeAlias

from fedtier.rounds import Contributor, Head, RoundManifest, RoundStatus, UpdateReceipt, parse_manifest

Sum: TypeAlias = Counter[tuple[str, str]]
"""An exact sum: how often each update, by client and digest, is in it. A wrong one shows as 0 or 2."""

COUNTED_ONCE: Final = "a published model is the sum over its contributors, each listed once"
HONEST_PARTIAL: Final = "a partial is the sum over the contributors that it lists, each once"
OWN_ROUND: Final = "an update counts in no round but the one that it was trained for"
PROMISE: Final = "who was told 200 is in the manifest of that round and attempt, with the digest that was told"
CLOSED_ONCE: Final = "of a round that was closed nothing else is published than was fixed then"
STAYS_CLOSED: Final = "a round that was shown as being published takes nothing any more in that attempt"
REPLAYED: Final = "a restart brings back everyone who was told 200, and the sum over those who are counted"
ONE_CHAIN: Final = "each round is published once, after the one before it"
ONE_ATTEMPT: Final = "attempts have one number after the other, and each is opened by one master"
CLOSES: Final = "once faults end, the open round is published within a bounded number of steps"
ANSWERED: Final = "once faults end, every client hears that its round is over and goes on"
ALONE: Final = "a master that is the only one never takes itself for another one"
NOTHING_LEFT: Final = "once everybody is answered, no tier holds anything"


class Claims:
    """Hears what is promised to clients and what head says, and checks one against the other."""

    def __init__(self) -> None:
        self.published: dict[tuple[int, int], RoundManifest] = {}
        self._promised: defaultdict[tuple[int, int], set[tuple[str, str]]] = defaultdict(set)
        self._trained: dict[str, int] = {}
        self._opened: set[tuple[int, int]] = set()
        self._closed: set[tuple[int, int]] = set()
        self._fixed: dict[tuple[int, int], bytes] = {}

    def trained(self, sha256: str, round_number: int) -> None:
        """A client made an update."""
        self._trained[sha256] = round_number

    def sent(self, contributors: tuple[Contributor, ...], total: Sum) -> None:
        """A worker sent a partial."""
        assert total == _sum_over_each_once(contributors), f"{HONEST_PARTIAL}: {sorted(total.items())}"

    def promised(self, receipt: UpdateReceipt) -> None:
        """A tier told a client 200."""
        pair = receipt.round, receipt.attempt
        self._promised[pair].add((receipt.client_id, receipt.sha256))
        self._check_promises(pair)

    def opened(self, pair: tuple[int, int]) -> None:
        """A master made the journal of an attempt."""
        assert pair not in self._opened, f"{ONE_ATTEMPT}: {pair}"
        self._opened.add(pair)

    def to_be_published(self, manifest: bytes) -> None:
        """A master wrote a manifest, which head is going to name."""
        pair = RoundManifest.from_json(manifest).pair
        assert self._fixed.setdefault(pair, manifest) == manifest, f"{CLOSED_ONCE}: {pair}"

    def shown(self, status: RoundStatus) -> None:
        """A master shows its round."""
        if status.state == "publishing":
            self._closed.add(status.pair)
        else:
            assert status.pair not in self._closed, f"{STAYS_CLOSED}: {status.pair} is {status.state}"

    def head_moved(self, old: Head, new: Head, manifest: bytes, model: Sum) -> None:
        """Head was replaced; it names a manifest, and that one a model."""
        assert new.attempt == old.attempt + 1, f"{ONE_ATTEMPT}: {old} became {new}"
        if new.round == old.round:
            assert new.manifest_sha256 == old.manifest_sha256, f"{ONE_CHAIN}: {old} became {new}"
            return
        published = parse_manifest(manifest)
        assert isinstance(published, RoundManifest)
        before = published.previous.round, published.previous.manifest_sha256
        assert new.round == published.round == old.round + 1, f"{ONE_CHAIN}: {old} became {new}"
        assert before == (old.round, old.manifest_sha256), f"{ONE_CHAIN}: {published.previous} is not {old}"
        assert published.attempt == old.attempt, f"{ONE_ATTEMPT}: {published.pair} was published over {old}"
        assert model == _sum_over_each_once(published.contributors), f"{COUNTED_ONCE}: {sorted(model.items())}"
        assert all(self._trained[c.sha256] == new.round for c in published.contributors), f"{OWN_ROUND}: {new}"
        self.published[published.pair] = published
        self._check_promises(published.pair)

    def _check_promises(self, pair: tuple[int, int]) -> None:
        if pair in self.published:
            broken = self._promised[pair] - {(c.client_id, c.sha256) for c in self.published[pair].contributors}
            assert not broken, f"{PROMISE}: {sorted(broken)} of {pair}"


def _sum_over_each_once(contributors: tuple[Contributor, ...]) -> Sum | None:
    """Return the sum that a list of contributors stands for; None where one is listed twice."""
    clients = {contributor.client_id for contributor in contributors}
    if len(clients) < len(contributors):
        return None
    return Counter((contributor.client_id, contributor.sha256) for contributor in contributors)
