"""A poll that finds nothing new is answered before Flask, and what holds for every request holds for it too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from werkzeug.test import Client, TestResponse

from fedtier.problems import SlowDown, Unavailable
from fedtier.rounds import RoundStatus
from fedtier.serving.buckets import BURST, TokenBuckets
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.pacing import FASTEST
from fedtier.serving.refusals import HEADER
from fedtier.serving.round_documents import RoundDocuments
from fedtier.serving.shares import RequestRate
from fedtier.serving.tier import Tier
from fedtier.serving.unchanged import ROUND_PATH, UnchangedRound
from fedtier.tokens import TokenVerifier, generate_keys
from tests.fedtier.round_documents import PLAN
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server
from tests.scrapes import Scrape
from tests.tokens import presented

PRIVATE, PUBLIC = generate_keys()


def status(counted: int = 0) -> RoundStatus:
    return RoundStatus(**PLAN, state="collecting", counted=counted, poll_after=FASTEST)


@dataclass
class Known:
    """As much of a tier as polls are about."""

    now: RoundStatus = field(default_factory=status)
    trouble: Exception | None = None

    def status(self) -> RoundStatus:
        if self.trouble is not None:
            raise self.trouble
        return self.now


@dataclass
class Polled:
    """A round that is polled, and how often the app behind was asked."""

    tier: Known = field(default_factory=Known)
    asked: int = 0
    admit: Callable[[Any], object] = lambda _: None

    def __post_init__(self) -> None:
        def admit(environ: object) -> object:
            return self.admit(environ)

        self.documents = RoundDocuments(cast(Tier, self.tier))
        self.metrics = AggregatorMetrics("worker")
        self.http = Client(UnchangedRound(self._app, self.documents, admit, self.metrics))

    def _app(self, _: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked += 1
        start_response("200 OK", [])
        return [b"of the app"]

    def poll(self, tag: str, method: str = "GET", path: str = ROUND_PATH, **headers: str) -> int:
        answer = self.http.open(path, method=method, headers={"If-None-Match": tag, **headers})
        return int(answer.status_code)


def test_who_knows_the_round_is_told_so_without_the_app() -> None:
    polled = Polled()
    tag = polled.documents.take().tag
    assert [polled.poll(tag), polled.asked] == [304, 0]
    assert Scrape.of(polled.metrics)("requests_total", route=ROUND_PATH, method="GET", status="3xx") == 1


def test_who_knows_another_round_is_answered_by_the_app() -> None:
    polled = Polled()
    old = polled.documents.take().tag
    polled.tier.now = status(counted=1)
    assert [polled.poll(old), polled.asked] == [200, 1]
    assert [polled.poll(polled.documents.take().tag), polled.asked] == [304, 1]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "HEAD"},
        {"method": "PUT"},
        {"path": "/v1/round/"},
        {"path": "//v1/round"},
        {HEADER: "round-over=1"},
    ],
)
def test_whatever_else_is_asked_is_the_apps(changed: dict[str, str]) -> None:
    polled = Polled()
    tag = polled.documents.take().tag
    assert [polled.poll(tag, **changed), polled.asked] == [200, 1]


@pytest.mark.parametrize("written", ["W/{}", "{}, {}", "*", "", "{}x"])
def test_a_tag_that_is_written_otherwise_is_the_apps(written: str) -> None:
    polled = Polled()
    tag = polled.documents.take().tag
    assert [polled.poll(written.format(tag, tag)), polled.asked] == [200, 1]


@pytest.mark.parametrize("problem", [SlowDown("too often"), ZeroDivisionError("a bug")])
def test_who_may_not_ask_is_refused_by_the_app_and_counted_by_nobody(problem: Exception) -> None:
    def refuse(_: object) -> NoReturn:
        raise problem

    polled = Polled()
    tag = polled.documents.take().tag
    polled.admit = refuse
    for _ in range(5):
        assert polled.poll(tag) == 200
    assert polled.asked == 5
    assert Scrape.of(polled.metrics)("requests_total", route=ROUND_PATH, method="GET", status="3xx") == 0


def test_polls_are_taken_from_a_clients_share_and_those_beyond_it_are_the_apps_to_refuse() -> None:
    rate = RequestRate(TokenBuckets(), clock=lambda: 0.0)
    polled = Polled(admit=lambda _: rate.count("client-1"))
    tag = polled.documents.take().tag
    assert {polled.poll(tag) for _ in range(int(BURST))} == {304}
    assert [polled.poll(tag), polled.asked] == [200, 1]


def test_a_tier_that_does_not_know_its_round_any_more_says_so_through_the_app() -> None:
    polled = Polled()
    tag = polled.documents.take().tag
    polled.tier.trouble = Unavailable("no round is open yet", retry_after=1)
    assert [polled.poll(tag), polled.asked] == [200, 1]


def test_polls_without_news_are_counted_as_those_with_news(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("fedtier.serving.round_documents.time.monotonic", lambda: now)
    polled = Polled()
    tag = polled.documents.take().tag
    for poll in range(1000):  # as many as 10 clients send in 2 s, and a server answers only 200
        now = poll / 500
        polled.poll(tag)
    assert polled.asked == 0
    now = 2.1
    assert [polled.poll(tag), polled.asked] == [200, 1]
    assert polled.documents.take().pace > 2 * FASTEST, "more than the age of the round asks for"


@pytest.fixture(scope="module")
def master(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("master")
    store = store_of(s3_server)
    publish_initial(store, folder)
    with Master(store, folder / "state", rules(), verifier=TokenVerifier([PUBLIC])) as running:
        yield running


def ask(master: Master, tag: str = "", **headers: str) -> TestResponse:
    return master.http.get(ROUND_PATH, headers={**({"If-None-Match": tag} if tag else {}), **headers})


def test_nobody_hears_without_a_token_that_the_round_is_the_same(master: Master) -> None:
    tag = ask(master, **presented(PRIVATE, "client", "client-1")).headers["ETag"]
    assert ask(master, tag).status_code == 401
    assert ask(master, tag, Authorization="Bearer nonsense").status_code == 401
    assert ask(master, tag, **presented(generate_keys()[0], "client", "client-1")).status_code == 401
    assert ask(master, tag, **presented(PRIVATE, "client", "client-1")).status_code == 304


def test_flask_says_the_same_where_it_is_asked(master: Master) -> None:
    me = presented(PRIVATE, "worker", "worker")
    tag = ask(master, **me).headers["ETag"]
    plain, listed = ask(master, tag, **me), ask(master, f"{tag}, {tag}", **me)
    assert (plain.status_code, plain.data) == (listed.status_code, listed.data) == (304, b"")
    assert dict(plain.headers) == {name: value for name, value in listed.headers.items() if name != "Date"}
