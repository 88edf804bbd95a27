"""tensorboardX's protobuf messages, without the rest of tensorboardX.

Its ``__init__`` imports torch where that is installed: two seconds and some hundred megabytes that an aggregator has
no use for. So its messages are imported around it.
"""

from __future__ import annotations

import sys
from importlib import import_module, util
from typing import Any, Final

_PACKAGE: Final = "tensorboardX"


def _import_messages(name: str) -> Any:
    """Import a module of the package's ``proto`` folder without running the package's own ``__init__``."""
    if _PACKAGE in sys.modules:
        return import_module(f"{_PACKAGE}.proto.{name}")
    found = util.find_spec(_PACKAGE)
    if found is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    sys.modules[_PACKAGE] = util.module_from_spec(found)
    try:
        return import_module(f"{_PACKAGE}.proto.{name}")
    finally:
        del sys.modules[_PACKAGE]  # whoever imports the package after this gets all of it


_event: Final = _import_messages("event_pb2")
_summary: Final = _import_messages("summary_pb2")
_tensor: Final = _import_messages("tensor_pb2")
_layout: Final = _import_messages("layout_pb2")

Event: Final = _event.Event
Summary: Final = _summary.Summary
SummaryMetadata: Final = _summary.SummaryMetadata
TensorProto: Final = _tensor.TensorProto
Layout: Final = _layout.Layout
Category: Final = _layout.Category
Chart: Final = _layout.Chart
MultilineChartContent: Final = _layout.MultilineChartContent
MarginChartContent: Final = _layout.MarginChartContent
