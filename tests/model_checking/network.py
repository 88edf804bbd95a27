"""The simulated network: uploads and answers under way, which may come late, twice, in another order, or never."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

from fedtier.problems import Problem, problem_from_document
from fedtier.rounds import Contributor, PartialHeader, PartialReceipt, RoundStatus, UpdateReceipt
from tests.model_checking.claims import Sum

Step: TypeAlias = tuple[str, Callable[[], None]]
"""Something that may happen next, and its name."""


@dataclass(frozen=True, slots=True)
class Update:
    """`PUT /v1/rounds/{round}/updates/{client_id}`."""

    round: int
    contributor: Contributor


@dataclass(frozen=True, slots=True)
class Partial:
    """`PUT /v1/rounds/{round}/partials/{batch_id}`."""

    round: int
    batch_id: str
    header: PartialHeader
    sum: Sum
    sha256: str


Upload: TypeAlias = Update | Partial
Answer: TypeAlias = UpdateReceipt | PartialReceipt | Problem | None
"""None where the connection broke or nothing came for too long."""


class Caller(Protocol):
    """Who sends an upload, and waits."""

    def answered(self, answer: Answer) -> None:
        """Take the answer."""
        ...


class Server(Protocol):
    """Who takes uploads."""

    def receive(self, request: Request) -> None:
        """Take a request whose headers have come."""
        ...

    def status(self) -> RoundStatus | Problem | None:
        """Answer `GET /v1/round`."""
        ...


@dataclass(eq=False, slots=True)
class Call:
    """A caller that waits for one answer."""

    name: str
    caller: Caller


@dataclass(eq=False, slots=True)
class Request:
    """An upload on its way; the network may make two of one."""

    call: Call
    server: Server
    upload: Upload


class Network:
    """What is under way."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.requests: list[Request] = []
        self.answers: list[tuple[Call, Answer]] = []
        self._taken: list[Request] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is under way, and nobody waits."""
        return not (self.calls or self.requests or self.answers or self._taken)

    def send(self, name: str, caller: Caller, server: Server, upload: Upload) -> None:
        """Send an upload; the caller is told once what came of it."""
        call = Call(name, caller)
        self.calls.append(call)
        self.requests.append(Request(call, server, upload))

    def answer(self, request: Request, answer: Answer) -> None:
        """Answer a request that was delivered; None where its connection breaks."""
        self._taken.remove(request)
        if request.call in self.calls:
            self.answers.append((request.call, _on_the_wire(answer)))

    def hang_up(self, caller: Caller) -> None:
        """Forget a caller that is no more."""
        self.calls = [call for call in self.calls if call.caller is not caller]

    def steps(self) -> Iterable[Step]:
        """Return what may happen next: a delivery, or that a caller finds its connection broken."""
        for request in self.requests:
            yield f"{request.call.name} arrives", partial(self._deliver, request)
        for call, answer in self.answers:
            yield f"{call.name} is answered {_name(answer)}", partial(self._bring, call, answer)
        for call in self.calls:
            if not self._is_under_way(call):
                yield f"{call.name} finds its connection broken", partial(self._tell, call, None)

    def lose_request(self, request: Request) -> None:
        self.requests.remove(request)

    def repeat_request(self, request: Request) -> None:
        self.requests.append(Request(request.call, request.server, request.upload))

    def lose_answer(self, position: int) -> None:
        del self.answers[position]

    def time_out(self, call: Call) -> None:
        """Have a caller wait no longer; its request or the answer may still be under way, and arrive."""
        self._tell(call, None)

    def _deliver(self, request: Request) -> None:
        self.requests.remove(request)
        self._taken.append(request)
        request.server.receive(request)

    def _bring(self, call: Call, answer: Answer) -> None:
        self.answers.remove((call, answer))
        self._tell(call, answer)

    def _tell(self, call: Call, answer: Answer) -> None:
        if call in self.calls:
            self.calls.remove(call)
            call.caller.answered(answer)

    def _is_under_way(self, call: Call) -> bool:
        return any(request.call is call for request in (*self.requests, *self._taken)) or any(
            other is call for other, _ in self.answers
        )


def _on_the_wire(answer: Answer) -> Answer:
    """Return what `fedtier.upstream` makes of an answer at the other end."""
    if not isinstance(answer, Problem):
        return answer
    problem = problem_from_document(answer.document(), retry_after=answer.retry_after)
    problem.members.setdefault("status", answer.document()["status"])
    return problem


def _name(answer: Answer) -> str:
    if answer is None:
        return "nothing"
    return answer.name if isinstance(answer, Problem) else "200"
