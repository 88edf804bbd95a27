"""The documents of a round: what the tiers send each other and what is published.

Each document is one pydantic model, used by both ends. JSON is written by
`Document.to_json`, the same bytes for the same content on every machine.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from fedtier.documents import Document, Lenient, first_error
from fedtier.fields import ClientId, Count, Metrics, Moment, RoundNumber, Sha256
from fedtier.header import encode_header
from fedtier.kinds import MAX_WEIGHT_LIMIT, SumPlan, TensorPlan
from fedtier.problems import BadRequest, DuplicateContributors

DEFAULT_WEIGHT_LIMIT: Final = 1 << 28

Optimizer: TypeAlias = Literal["sgd", "adam"]
State: TypeAlias = Literal["collecting", "publishing", "paused", "finished"]


class BaseRound(Lenient):
    """The published round whose model a round trains on."""

    round: RoundNumber
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]
    url: str


class ClientSettings(Lenient):
    """How clients train in a round, unless they override it.

    Parameters
    ----------
    epochs, batch_size : int
    lr : float
        Learning rate of this round.
    optimizer : {"sgd", "adam"}
    momentum : float
        Of ``sgd``.
    weight_decay : float
        Factor of the squared norm that is added to the loss, twice over.
    prox_mu : float
        FedProx's pull towards the round's model (Li et al. 2020); 0 is FedAvg.
    """

    epochs: Count = 1
    batch_size: Count = 32
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    optimizer: Optimizer = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    prox_mu: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class RoundPlan(Lenient):
    """What the master fixed when it opened a round; the journal's first file."""

    round: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)]
    base: BaseRound
    tensors: Annotated[tuple[TensorPlan, ...], Field(alias="schema")]
    weight_limit: Annotated[int, Field(ge=1, le=MAX_WEIGHT_LIMIT, strict=True)]
    max_examples: Count
    threshold: Count
    min_clients: Count
    deadline: Moment | None
    cohort: tuple[ClientId, ...] | None
    final_round: Annotated[int, Field(ge=0)] | None
    client: ClientSettings

    @cached_property
    def sums(self) -> SumPlan:
        """What the round's exact sums have in common."""
        return SumPlan(self.tensors, self.weight_limit)

    @cached_property
    def tensor_bytes(self) -> int:
        """How long all tensors are at their full size."""
        return sum(tensor.spec.nbytes for tensor in self.tensors)

    @cached_property
    def header_bytes(self) -> int:
        """How long the header is that our own writer makes for an update, but for what it says of its client."""
        return len(encode_header((tensor.spec for tensor in self.tensors), {}))

    @property
    def pair(self) -> tuple[int, int]:
        """Round and attempt: the newer of two is the greater."""
        return self.round, self.attempt

    @property
    def finished(self) -> bool:
        """Whether this round lies past the last one, so that it takes nothing."""
        return self.final_round is not None and self.round > self.final_round

    def selects(self, client_id: str) -> bool:
        """Return whether a client is in the round's cohort."""
        return self._selected is None or client_id in self._selected

    @cached_property
    def _selected(self) -> frozenset[str] | None:
        return None if self.cohort is None else frozenset(self.cohort)


class RoundStatus(RoundPlan):
    """The answer of ``GET /v1/round``: the plan and how far it is."""

    state: State
    counted: Annotated[int, Field(ge=0)]
    poll_after: Annotated[float, Field(gt=0)]

    @property
    def plan(self) -> RoundPlan:
        """The plan alone."""
        return RoundPlan.model_validate({name: getattr(self, name) for name in RoundPlan.model_fields})


class Contributor(Document):
    """One client's part in a sum."""

    client_id: ClientId
    num_examples: Count
    sha256: Sha256
    metrics: Metrics


class Counted(Document):
    """A contributor that is counted, with the digest that counted."""

    client_id: ClientId
    sha256: Sha256


class PartialHeader(Document):
    """The ``partial`` metadata of a partial's file."""

    attempt: Annotated[int, Field(ge=1, strict=True)]
    total_weight: Count
    contributors: Annotated[tuple[Contributor, ...], Field(min_length=1)]

    def require_consistent(self) -> None:
        """Check what the types cannot say.

        Raises
        ------
        DuplicateContributors
        BadRequest
            ``total_weight`` is not the sum of the contributors' examples.
        """
        seen: set[str] = set()
        for contributor in self.contributors:
            if contributor.client_id in seen:
                raise DuplicateContributors(
                    f"the partial lists client {contributor.client_id!r} twice", client_id=contributor.client_id
                )
            seen.add(contributor.client_id)
        total = sum(contributor.num_examples for contributor in self.contributors)
        if total != self.total_weight:
            raise BadRequest(f"the partial's total_weight is {self.total_weight}, but its contributors have {total}")


class UpdateReceipt(Lenient):
    """The 200 of an update: the master has it, durably, in that attempt."""

    round: int
    attempt: int
    client_id: str
    counted: Literal[True] = True
    sha256: Sha256


class PartialReceipt(Lenient):
    """The 200 of a partial: ``counted`` is how many contributors the batch added."""

    round: int
    attempt: int
    batch_id: str
    counted: int


class ModelDigest(Lenient):
    """Digest and size of a published model."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Predecessor(Lenient):
    """The round before, by the digest of its manifest."""

    round: RoundNumber
    manifest_sha256: Sha256


class InitialManifest(Lenient):
    """What is published as round 0; without times, so that the same model gives the same bytes."""

    round: Literal[0] = 0
    attempt: Literal[0] = 0
    base: None = None
    model: ModelDigest
    total_examples: Literal[0] = 0
    contributors: tuple[()] = ()
    previous: None = None


class RoundManifest(RoundPlan):
    """What was published for a round: its plan, who is in it, and the model."""

    model: ModelDigest
    total_examples: Count
    contributors: tuple[Contributor, ...]
    previous: Predecessor
    opened_at: Moment
    closed_at: Moment
    published_at: Moment


Manifest: TypeAlias = InitialManifest | RoundManifest
_MANIFEST: Final[TypeAdapter[Manifest]] = TypeAdapter(Manifest)


def parse_manifest(data: bytes) -> Manifest:
    """Parse a published manifest.

    Raises
    ------
    BadRequest
        The bytes are no manifest.
    """
    try:
        return _MANIFEST.validate_json(data)
    except ValidationError as error:
        raise BadRequest(f"not a manifest: {first_error(error)}") from None


class Head(Document):
    """The S3 object that names the newest published round; moved by compare-and-swap only.

    ``attempt`` is that of the round that is open now, one higher with each swap.
    """

    round: RoundNumber
    manifest_sha256: Sha256
    attempt: Annotated[int, Field(ge=1)]
