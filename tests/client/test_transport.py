from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from client.events import SavedUpdate
from client.transport import Backoff, ServerBusy, Transport
from fedtier.problems import (
    BadRequest,
    DigestMismatch,
    Problem,
    RoundOver,
    SlowDown,
    StartupError,
    Unauthenticated,
    Unavailable,
)
from fedtier.rounds import UpdateReceipt
from fedtier.tls import server_context
from fedtier.upstream import Unreachable, Upstream, content_digest, file_sha256
from fedtier_cli.seaweed import free_ports
from tests.authorities import HOST, Authority
from tests.client.federation import make_status, model_bytes
from tests.client.loopback import Reply, Request, json_reply, problem_reply, serve
from tests.fedtier.test_connections import LARGER_THAN_BUFFERS, NO_DIGEST, read_all, read_head, spoken_to

ARRAYS = {"w": np.arange(3, dtype=np.float32)}
STATUS = make_status(ARRAYS)
ROUND = Reply(200, STATUS.to_json())
BROKEN_OFF = Reply(0)


class Script:
    """Answers with one reply after the other, the last one for ever, and notes what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def transport(url: str, *, wait: float = 30.0, retry_budget: float = 30.0) -> Transport:
    return Transport(Upstream(url), "client-3", rng=random.Random(3), wait=wait, retry_budget=retry_budget)


def busy(kind: type[Problem] = Unavailable, after: str = "0.01") -> Reply:
    return problem_reply(kind("come again"), Retry_After=after)


@pytest.fixture
def update(tmp_path: Path) -> tuple[SavedUpdate, Path]:
    path = tmp_path / "update.safetensors"
    path.write_bytes(model_bytes(ARRAYS))
    return SavedUpdate(1, STATUS.base.sha256, file_sha256(path), 600, {}), path


def test_what_may_pass_is_asked_again_until_there_is_an_answer() -> None:
    script = Script(busy(), busy(SlowDown), BROKEN_OFF, Reply(502, b"<html>bad gateway"), ROUND)
    with serve(script) as url:
        assert transport(url).round_status() == STATUS
    assert len(script.requests) == 5


@pytest.mark.parametrize("kind", [Unauthenticated, BadRequest, RoundOver])
def test_an_answer_that_stays_the_same_is_not_asked_for_again(kind: type[Problem]) -> None:
    script = Script(problem_reply(kind("no")))
    with serve(script) as url, pytest.raises(kind, match="no"):
        transport(url).round_status()
    assert len(script.requests) == 1


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    [port] = free_ports(1)
    with ExitStack() as servers:
        patient = Transport(
            Upstream(f"http://127.0.0.1:{port}"),
            "client-3",
            wait=60.0,
            rng=_Calls(lambda: servers.enter_context(serve(Script(busy(), ROUND), port))),
        )
        assert patient.first_status() == STATUS


class _Calls(random.Random):
    """Does something when the first pause is drawn, that is, after the first failure."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(0)
        self._action: Callable[[], object] | None = action

    def uniform(self, a: float, b: float) -> float:
        action, self._action = self._action, None
        if action is not None:
            action()
        return super().uniform(a, b)


def test_a_server_that_is_not_believed_at_the_start_is_not_waited_for(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    with serve(Script(ROUND), tls=server_context(theirs.tls(HOST))) as url:
        upstream = Upstream(url, tls=ours.believed)
        hasty = Transport(upstream, "client-3", rng=_Calls(pytest.fail), wait=3600.0)
        with pytest.raises(StartupError, match=rf"^the certificate of {url} is not signed by .* --ca-certs$"):
            hasty.first_status()


def test_a_server_whose_certificate_ends_later_is_asked_until_it_is_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    expired = authority.tls(HOST, days=-1)
    with serve(Script(ROUND), tls=server_context(expired)) as url:
        patient = Transport(
            Upstream(url, tls=authority.believed),
            "client-3",
            rng=_Calls(lambda: authority.pair(HOST)),
            retry_budget=60.0,
        )
        with capture_logs() as logs:
            assert patient.round_status() == STATUS
    assert [line["reason"] for line in logs if line["event"] == "trying again"] == [
        f"the certificate of {url} has expired; have it renewed there"
    ]


def test_a_server_that_never_comes_is_one_clear_sentence() -> None:
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            transport(f"http://127.0.0.1:{port}", wait=0.0).first_status()
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert "--wait" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_gets_ready_is_one_clear_sentence() -> None:
    with (
        serve(Script(problem_reply(Unavailable("S3 is away")))) as url,
        pytest.raises(StartupError, match="S3 is away"),
    ):
        transport(url, wait=0.0).first_status()


def test_a_server_that_refuses_at_first_is_not_waited_for() -> None:
    with serve(Script(problem_reply(Unauthenticated("no token")))) as url, pytest.raises(Unauthenticated):
        transport(url).first_status()


def test_a_spent_budget_ends_with_what_the_last_try_met() -> None:
    with (
        serve(Script(BROKEN_OFF)) as url,
        pytest.raises(Unreachable, match=r"closed.*, and --retry-budget 0 s is over"),
    ):
        transport(url, retry_budget=0.0).round_status()


def test_a_spent_budget_says_what_the_server_was_busy_with(update: tuple[SavedUpdate, Path]) -> None:
    with serve(Script(problem_reply(Unavailable("the disk is full")))) as url, pytest.raises(ServerBusy) as caught:
        transport(url, retry_budget=0.0).upload(*update)
    assert str(caught.value) == (
        f"{url} puts this off: the disk is full, and --retry-budget 0 s does not last until then"
    )


@pytest.mark.parametrize("kind", [SlowDown, Unavailable])
def test_a_server_that_wants_to_be_asked_after_the_budget_is_not_waited_for(
    update: tuple[SavedUpdate, Path], kind: type[Problem]
) -> None:
    script = Script(busy(kind, after="3600"))
    with serve(script) as url:
        with pytest.raises(ServerBusy, match=r"for 3600 s: come again, and --retry-budget 60 s does not last until"):
            transport(url, retry_budget=60.0).upload(*update)
        with pytest.raises(StartupError, match=r"for 3600 s: come again, and --wait 60 s does not last until then"):
            transport(url, wait=60.0).first_status()
    assert len(script.requests) == 2


def test_a_model_that_arrives_damaged_is_fetched_again(tmp_path: Path) -> None:
    whole = model_bytes(ARRAYS)
    script = Script(Reply(200, bytes([whole[0]]) + bytes(len(whole) - 1)), Reply(200, whole))
    with serve(script) as url:
        transport(url).fetch_model(STATUS.base, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_model_that_arrives_damaged_every_time_is_one_clear_sentence(tmp_path: Path) -> None:
    damaged = bytes(len(model_bytes(ARRAYS)))
    with serve(Script(Reply(200, damaged))) as url, pytest.raises(ServerBusy) as caught:
        transport(url, retry_budget=0.0).fetch_model(STATUS.base, tmp_path / "model.safetensors")
    assert str(caught.value) == (
        f"what passes between here and {url} is damaged: the model of round {STATUS.base.round} from {url} has SHA-256 "
        f"{sha256(damaged).hexdigest()}, not {STATUS.base.sha256}, and --retry-budget 0 s of further tries are over"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_upload_is_repeated_byte_for_byte_until_it_is_counted(update: tuple[SavedUpdate, Path]) -> None:
    saved, path = update
    counted = UpdateReceipt(round=1, attempt=1, client_id="client-3", sha256=saved.sha256)
    script = Script(busy(), problem_reply(DigestMismatch("damaged")), BROKEN_OFF, Reply(200, counted.to_json()))
    with serve(script) as url:
        assert transport(url).upload(saved, path) == counted
    assert len(script.requests) == 4
    assert {(request.method, request.path) for request in script.requests} == {("PUT", "/v1/rounds/1/updates/client-3")}
    assert {request.body for request in script.requests} == {path.read_bytes()}
    assert script.requests[-1].headers["Content-Digest"] == content_digest(saved.sha256)


def test_a_further_try_is_not_begun_before_all_of_it_may_be_sent(tmp_path: Path) -> None:
    path, happened = tmp_path / "update", list[str]()
    with path.open("wb") as file:
        file.truncate(LARGER_THAN_BUFFERS)
    saved = SavedUpdate(1, "b" * 64, NO_DIGEST, 1, {})
    counted = UpdateReceipt(round=1, attempt=1, client_id="client-3", sha256=NO_DIGEST)

    def answer(connection: socket.socket) -> None:
        if not read_head(connection):
            return
        happened.append("begun")
        if happened.count("begun") == 1:
            connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        else:
            read_all(connection)
            document = counted.to_json()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

    with spoken_to(answer) as url:
        assert transport(url).upload(saved, path, lambda: happened.append("durable")) == counted

    assert happened == ["begun", "durable", "begun", "durable"]


def test_an_answer_that_is_no_receipt_counts_nothing(update: tuple[SavedUpdate, Path]) -> None:
    with serve(Script(json_reply({"round": 1}))) as url, pytest.raises(BadRequest, match="attempt"):
        transport(url).upload(*update)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_pauses_double_up_to_ten_seconds() -> None:
    backoff = Backoff(deadline=1e6, clock=Clock(), rng=Highest(), client_id="client-3")

    assert [backoff(Unreachable("gone")) for _ in range(9)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    )


def test_pauses_are_drawn_from_zero_on() -> None:
    drawn = [
        Backoff(deadline=1e6, clock=Clock(), rng=random.Random(seed), client_id="client-3")(Unreachable("gone"))
        for seed in range(50)
    ]

    assert 0 <= min(drawn) < 0.01
    assert 0.09 < max(drawn) <= 0.1
    assert len(set(drawn)) == 50


def test_retry_after_is_a_lower_bound() -> None:
    backoff = Backoff(deadline=1e6, clock=Clock(), rng=Highest(), client_id="client-3")

    assert backoff(Unavailable("busy", retry_after=7.0)) == pytest.approx(7.1)


def test_no_pause_ends_behind_the_deadline() -> None:
    clock = Clock()
    backoff = Backoff(deadline=0.05, clock=clock, rng=Highest(), client_id="client-3")

    assert backoff(Unreachable("gone")) == pytest.approx(0.05)
    assert backoff(Unavailable("busy", retry_after=1.0)) is False
    clock.now = 0.05
    assert backoff(Unreachable("gone")) is False
