"""What stands in documents, and as text in paths and metadata: digests, ids, counts, times, metrics.

A field's type checks it in a document; a function checks the same field where it comes as text.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from fedtier.documents import first_error
from fedtier.problems import BadRequest, OutOfRange

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NUM_EXAMPLES: Final = re.compile(r"[1-9][0-9]*")
MAX_METRICS_BYTES: Final = 4096
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
