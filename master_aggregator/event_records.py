"""The records of the event file: what is written of a round and of an evaluation, and what is read back. Pure.

A record is one protobuf ``Event`` with everything there is to say of its round, so it is there as a whole or not at
all, and the records themselves say what stands in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from master_aggregator.event_messages import (
    Category,
    Chart,
    Event,
    Layout,
    MarginChartContent,
    MultilineChartContent,
    Summary,
    SummaryMetadata,
    TensorProto,
)
from master_aggregator.summaries import COUNTED, LATE, METRICS, REFUSED

Kind: TypeAlias = Literal["version", "layout", "round", "evaluation"]

_VERSION: Final = "brain.Event:2"
_LAYOUT_TAG: Final = "custom_scalars__config__"
_LAYOUT_PLUGIN: Final = "custom_scalars"
_SCALARS_PLUGIN: Final = "scalars"
_MODELS: Final = re.compile("model ([0-9a-f]{64}) after ([0-9a-f]{64})")


class NotOurs(ValueError):
    """The bytes are no record of this program's."""


@dataclass(frozen=True, slots=True)
class Models:
    """A round's model and the one it was trained from, by SHA-256 in hex."""

    model: str
    base: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a record is of.

    Parameters
    ----------
    kind : {"version", "layout", "round", "evaluation"}
    round : int
        0 for a file's first two records.
    wall_time : float
        Seconds since 1970.
    models : Models or None
        Of a round.
    """

    kind: Kind
    round: int
    wall_time: float
    models: Models | None = None


def heading(wall_time: float) -> list[bytes]:
    """Return a file's first two records: the format's version, and what the Custom Scalars tab shows together."""
    layout = Layout(category=_categories())
    tensor = TensorProto(dtype="DT_STRING", string_val=[layout.SerializeToString()])
    tensor.tensor_shape.SetInParent()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=_LAYOUT_PLUGIN))
    summary = Summary(value=[Summary.Value(tag=_LAYOUT_TAG, tensor=tensor, metadata=metadata)])
    return [
        _bytes(Event(wall_time=wall_time, file_version=_VERSION)),
        _bytes(Event(wall_time=wall_time, summary=summary)),
    ]


def round_record(number: int, wall_time: float, models: Models, scalars: Mapping[str, float]) -> bytes:
    """Return the record of a round.

    The models' digests go along, in a field that TensorBoard has for descriptions: by them the file is known as
    this federation's, and evaluations are found.

    Parameters
    ----------
    number : int
    wall_time : float
        Seconds since 1970.
    models : Models
    scalars : Mapping of str to float
        From `master_aggregator.summaries.round_scalars`.
    """
    summary = _summary({COUNTED: scalars[COUNTED], **scalars})
    summary.value[0].metadata.plugin_data.plugin_name = _SCALARS_PLUGIN
    summary.value[0].metadata.summary_description = f"model {models.model} after {models.base}"
    return _bytes(Event(wall_time=wall_time, step=number, summary=summary))


def evaluation_record(number: int, wall_time: float, scalars: Mapping[str, float]) -> bytes:
    """Return the record of an evaluation."""
    return _bytes(Event(wall_time=wall_time, step=number, summary=_summary(scalars)))


def read_stamp(record: bytes) -> Stamp:
    """Return what a record is of.

    Raises
    ------
    NotOurs
    """
    event = Event()
    try:
        event.ParseFromString(record)
    except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
        raise NotOurs(f"no event: {error}") from None
    what = event.WhichOneof("what")
    if what == "file_version" and event.file_version == _VERSION:
        return Stamp("version", 0, event.wall_time)
    if what != "summary" or event.step < 0:
        raise NotOurs(f"an event with {what or 'nothing'} in it")
    return _stamp_of(event.step, event.wall_time, event.summary.value)


def _stamp_of(number: int, wall_time: float, values: Any) -> Stamp:
    """Return what values are of; the first says it, for a round has thousands."""
    tag = values[0].tag if values else ""
    if tag == _LAYOUT_TAG:
        return Stamp("layout", 0, wall_time)
    if tag == COUNTED:
        models = _MODELS.fullmatch(values[0].metadata.summary_description)
        if models is None or number < 1:
            raise NotOurs("a round that does not name its model")
        return Stamp("round", number, wall_time, Models(*models.groups()))
    if not all(value.tag.startswith("global/") for value in values):
        raise NotOurs(f"an event with the tag {tag[:80]!r}")
    return Stamp("evaluation", number, wall_time)


def _summary(scalars: Mapping[str, float]) -> Any:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])


def _bytes(event: Any) -> bytes:
    data: bytes = event.SerializeToString()
    return data


def _categories() -> list[Any]:
    return [
        Category(
            title="each device",
            chart=[_lines(f"{metric} of every device", rf"^devices/[^/]+/{metric}$") for metric in METRICS],
        ),
        Category(
            title="mean of the devices, one standard deviation around it",
            chart=[_margin(f"{metric}, mean and spread", metric) for metric in METRICS],
        ),
        Category(
            title="global model",
            chart=[
                _lines(f"{metric} on test data, and the devices' mean", f"^global/{metric}$", f"^mean/{metric}$")
                for metric in METRICS
            ],
        ),
        Category(
            title="rounds",
            chart=[
                _lines("clients counted, updates late and refused", *(f"^{tag}$" for tag in (COUNTED, LATE, REFUSED))),
                _lines("refused updates by reason", f"^{REFUSED}/"),
                _lines("seconds", "^seconds/"),
            ],
        ),
    ]


def _lines(title: str, *tags: str) -> Any:
    return Chart(title=title, multiline=MultilineChartContent(tag=tags))


def _margin(title: str, metric: str) -> Any:
    series = MarginChartContent.Series(
        value=f"mean/{metric}", lower=f"spread/{metric}/low", upper=f"spread/{metric}/high"
    )
    return Chart(title=title, margin=MarginChartContent(series=[series]))
