"""What connections wait for while no thread has them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from fedtier.serving.front.connection_metrics import Parting


class Stage(enum.Enum):
    """What a connection waits for; the value names it in metrics."""

    HEAD = "head"
    """The first request's head, or the rest of one that has begun."""
    IDLE = "idle"
    """Another request."""
    FLUSH = "flush"
    """Room at the reader for the end of an answer."""
    DRAIN = "drain"
    """The end of what its sender still sends."""


SILENT: Final = (Stage.HEAD, Stage.IDLE)
"""Who is in these has nothing to lose: a client whose connection is closed asks again."""
TOO_LONG: Final[Mapping[Stage, tuple[Parting, str]]] = {
    Stage.HEAD: ("head_deadline", "no whole request came in time"),
    Stage.FLUSH: ("slow_answer", "the end of an answer was not read in time"),
}
"""What is said of who waited too long. Who asks nothing more is no news, nor who still sends what was refused."""
