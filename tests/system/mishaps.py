"""What can happen to an upload on its way: each a value that says what it is, and does it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import Final

from tests.system.federation import PATIENCE
from tests.system.ways import Reply, Request, Upload, Way

_COMPANY_WITHIN: Final = 2.0
"""Seconds after which an upload that nobody overtakes or joins goes on all the same."""


@dataclass(frozen=True, slots=True)
class ReplyLost:
    """The aggregator answers, and the sender hears nothing."""

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        way.pass_on(upload, request)
        return None


@dataclass(frozen=True, slots=True)
class BodyTruncated:
    """The aggregator gets half of the body, and the sender hears nothing."""

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        body = request.body()
        way.break_off(request, body[: len(body) // 2])
        return None


@dataclass(frozen=True, slots=True)
class Withheld:
    """The aggregator gets all of the body, or so many bytes, and the sender hears nothing for as long as it waits."""

    passing: int | None = None
    _held: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        def hold() -> None:
            self._held.set()
            request.await_end()

        if self.passing is None:
            way.pass_on(upload, request)
            hold()
        else:
            way.break_off(request, request.body()[: self.passing], after=hold)
        return None

    def await_held(self) -> None:
        """Return when there is something that it keeps back."""
        assert self._held.wait(PATIENCE), "nothing to keep back came"


@dataclass(frozen=True, slots=True)
class Stalled:
    """The aggregator gets half of the body, then nothing, until it has enough of that and says so."""

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        body = request.body()
        return way.stall(request, body[: len(body) // 2])


@dataclass(frozen=True, slots=True)
class Doubled:
    """The upload comes twice: both at the same time, or the second so many seconds later."""

    later: float = 0.0

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        request.body()
        if self.later:
            second: threading.Thread = threading.Timer(self.later, way.pass_on, (upload, request))
        else:
            second = threading.Thread(target=way.pass_on, args=(upload, request))
        second.daemon = True
        second.start()
        return way.pass_on(upload, request)


@dataclass(frozen=True, slots=True)
class Delayed:
    """The upload comes so many seconds later."""

    seconds: float

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        request.body()
        threading.Event().wait(self.seconds)
        return way.pass_on(upload, request)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """The upload does not come before another one was answered, unless none is for two seconds."""

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        request.body()
        with way.replied:
            before = way.replies
            way.replied.wait_for(lambda: way.replies > before, _COMPANY_WITHIN)
        return way.pass_on(upload, request)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The upload comes together with others, and twice: behind a load balancer, perhaps to two workers."""

    together: threading.Barrier

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        request.body()
        with contextlib.suppress(threading.BrokenBarrierError):
            self.together.wait(_COMPANY_WITHIN)
        return Doubled().befall(way, upload, request)
