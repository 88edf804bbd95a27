"""The documents of a round: what the tiers send each other and what is published, and where it lies in S3.

Each document is one pydantic model, used by both ends. JSON is written by
`Document.to_json`, the same bytes for the same content on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedtier.kinds import MAX_WEIGHT_LIMIT, SumPlan, TensorPlan
from fedtier.problems import BadRequest, DuplicateContributors, OutOfRange

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NUM_EXAMPLES: Final = re.compile(r"[1-9][0-9]*")
MAX_METRICS_BYTES: Final = 4096
DEFAULT_WEIGHT_LIMIT: Final = 1 << 28
_MAX_DIGITS: Final = 18
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time must lie in the years 1 to 9999 in UTC") from None


def _finite_metrics(metrics: dict[str, float]) -> dict[str, float]:
    if not all(math.isfinite(value) for value in metrics.values()):
        raise ValueError("metrics must be finite numbers")
    if any(_SURROGATE.search(name) for name in metrics):
        raise ValueError("names must be Unicode text")
    return dict(sorted(metrics.items()))


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ClientId = Annotated[str, Field(pattern=f"^{CLIENT_ID.pattern}$")]
RoundNumber = Annotated[int, Field(ge=0, strict=True)]
Count = Annotated[int, Field(ge=1, le=(1 << 63) - 1, strict=True)]
Moment = Annotated[datetime, AfterValidator(_utc)]
Number = Annotated[float, Field(strict=True)]
Metrics = Annotated[dict[str, Number], AfterValidator(_finite_metrics)]
Optimizer: TypeAlias = Literal["sgd", "adam"]
State: TypeAlias = Literal["collecting", "publishing", "paused", "finished"]


class Document(BaseModel):
    """A frozen JSON document that refuses unknown members where it is received."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_json(self) -> bytes:
        """Return the document's bytes: members in the order of the model, no white space."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Parse and check.

        Raises
        ------
        BadRequest
            Names the first member that is wrong, the value seen and what was expected.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BadRequest(f"not a {cls.__name__} document: {first_error(error)}") from None


class Lenient(Document):
    """A document read by programs of other versions, which skip members they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def first_error(error: ValidationError) -> str:
    """Return the first thing pydantic found wrong, as one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "document"
    return f"{where}: {first['msg']} (got {str(first['input'])[:80]!r})"


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


class RoundKeys:
    """The S3 keys of a federation.

    Parameters
    ----------
    bucket_key : str
        Key of the copy of the newest model, ``jobs/mnist.safetensors``; without its
        extension it is the prefix of everything else.

    Raises
    ------
    ValueError
        The key has no extension or an empty part.
    """

    def __init__(self, bucket_key: str) -> None:
        prefix, dot, extension = bucket_key.rpartition(".")
        parts = bucket_key.split("/")
        if (
            not (prefix and dot and extension)
            or "/" in extension
            or prefix.endswith("/")
            or {"", ".", ".."} & {*parts, *prefix.split("/")}
        ):
            raise ValueError(
                f"the bucket key {bucket_key!r} is not of the form path/name.safetensors; "
                "its path without the extension becomes the prefix of all rounds"
            )
        self.copy = bucket_key
        self.prefix = prefix
        self.head = f"{prefix}/head.json"

    def model(self, round_number: int, sha256: str) -> str:
        """Return the key of a round's model."""
        return f"{self.prefix}/rounds/{round_number:06d}/model-{sha256}.safetensors"

    def manifest(self, round_number: int, sha256: str) -> str:
        """Return the key of a round's manifest."""
        return f"{self.prefix}/rounds/{round_number:06d}/manifest-{sha256}.json"

    def evaluation(self, round_number: int, model_sha256: str) -> str:
        """Return the key of what a round's model did on test data."""
        return f"{self.prefix}/rounds/{round_number:06d}/evaluation-{model_sha256}.json"


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def parse_num_examples(text: str | None) -> int:
    """Parse an update's ``num_examples``.

    Raises
    ------
    BadRequest
        It is missing or does not match ``[1-9][0-9]*``.
    OutOfRange
        No round counts so many.
    """
    if text is None or not NUM_EXAMPLES.fullmatch(text):
        shown = None if text is None else text[:40]
        raise BadRequest(f"the metadata num_examples is {shown!r}, not a whole number from 1 in decimal digits")
    if len(text) > _MAX_DIGITS:
        raise OutOfRange(f"the metadata num_examples has {len(text)} digits, more than any round counts")
    return int(text)


_METRICS: Final[TypeAdapter[dict[str, float]]] = TypeAdapter(Metrics)


def parse_metrics(text: str | None) -> dict[str, float]:
    """Parse an update's ``metrics``: a flat JSON object of finite numbers, at most 4 KB.

    Raises
    ------
    BadRequest
    """
    if text is None:
        return {}
    if len(text.encode("utf-8", "surrogatepass")) > MAX_METRICS_BYTES:
        raise BadRequest(f"the metadata metrics has more than {MAX_METRICS_BYTES} bytes")
    try:
        return _METRICS.validate_python(json.loads(text))
    except ValidationError as error:
        raise BadRequest(f"the metadata metrics is no flat object of finite numbers: {first_error(error)}") from None
    except (ValueError, RecursionError):
        raise BadRequest("the metadata metrics is not JSON") from None


def require_id(text: str, what: str) -> str:
    """Return the id of a client or a batch that is well-formed.

    Raises
    ------
    BadRequest
    """
    if not CLIENT_ID.fullmatch(text):
        raise BadRequest(f"the {what} id {text[:140]!r} does not match {CLIENT_ID.pattern}")
    return text


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one where the bytes are none."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
