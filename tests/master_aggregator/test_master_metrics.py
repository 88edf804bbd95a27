"""What a master counts and says of what is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from fedtier.rounds import RoundStatus
from fedtier.store import RoundStore, StoreUnavailable
from fedtier.tokens import Role, TokenVerifier, generate_keys
from tests.builders import partial_bytes, trained, update_bytes
from tests.masters import Master, publish_initial, put, rules, store_of, wait_until
from tests.s3_servers import S3Server
from tests.scrapes import Scrape
from tests.tokens import presented

BODY = update_bytes(trained(1))
PRIVATE, PUBLIC = generate_keys()
token = partial(presented, PRIVATE)


@pytest.fixture
def store(s3_server: S3Server, tmp_path: Path) -> RoundStore:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    return store


@pytest.fixture
def counting(store: RoundStore, tmp_path: Path) -> Iterator[Master]:
    with Master(store, tmp_path / "state", rules(threshold=50)) as master:
        yield master


def scrape(master: Master) -> Scrape:
    answer = master.http.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def test_a_counted_update_is_counted_with_its_bytes_and_its_steps(counting: Master) -> None:
    assert counting.send_update("a", BODY).status_code == 200
    seen = scrape(counting)
    assert seen.uploads("update") == {"counted": 1}
    assert seen("contributors_total") == 1
    assert seen("received_bytes_total", content="update") == len(BODY)
    for step in ("receive", "check"):
        assert seen(f"{step}_seconds_count", kind="update") == 1
    assert seen("fold_seconds_count") == seen("journal_write_seconds_count") == 1
    assert (seen("round"), seen("counted_clients"), seen("threshold_clients")) == (1, 1, 50)
    assert seen("round_state", state="collecting") == 1
    route = "/v1/rounds/<number>/updates/<client_id>"
    assert seen("requests_total", route=route, method="PUT", status="2xx") == 1
    assert seen("request_seconds_count", route=route) == 1


def test_a_duplicate_is_answered_twice_and_one_contributor(counting: Master) -> None:
    for _ in range(2):
        assert counting.send_update("a", BODY).status_code == 200
    seen = scrape(counting)
    assert seen.uploads("update") == {"counted": 2}
    assert seen("contributors_total") == seen("counted_clients") == 1


def test_a_partial_is_counted_with_all_it_stands_for(counting: Master) -> None:
    plan = RoundStatus.from_json(counting.http.get("/v1/round").data).plan
    body = partial_bytes(plan, {f"client-{seed}": (trained(seed), 10) for seed in range(3)})
    assert counting.send_partial(body).status_code == 200
    seen = scrape(counting)
    assert seen.uploads("partial") == {"counted": 1}
    assert seen("contributors_total") == seen("batch_contributors_sum") == 3
    assert seen("partial_bytes_sum") == seen("received_bytes_total", content="partial") == len(body)


@pytest.mark.parametrize(
    ("reason", "body", "options"),
    [
        ("round-over", BODY, {"number": 0}),
        ("round-not-open", BODY, {"number": 2}),
        ("unsupported-media-type", BODY, {"headers": {"Content-Type": "text/plain"}}),
        ("digest-mismatch", BODY, {"headers": {"Content-Digest": f"sha-256=:{'A' * 43}=:"}}),
        ("not-safetensors", b"x" * 100, {}),
        ("not-finite", update_bytes(trained(1) | {"conv.weight": np.full((2, 3), np.nan, np.float32)}), {}),
        ("schema-mismatch", update_bytes({"other": np.zeros(1, np.float32)}), {}),
        ("out-of-range", update_bytes(trained(1), 1 << 20), {}),
    ],
)
def test_a_refusal_is_counted_by_its_reason_and_told_with_its_client(
    counting: Master, reason: str, body: bytes, options: dict[str, Any]
) -> None:
    with capture_logs() as logged:
        assert counting.send_update("client-3", body, **options).status_code >= 400
    seen = scrape(counting)
    assert seen.uploads("update") == {"refused": 1}
    assert seen.reasons("refusals_total") == {reason: 1}
    (line,) = [line for line in logged if line["event"] == "update refused"]
    assert (line["client_id"], line["round"], line["reason"]) == ("client-3", options.get("number", 1), reason)
    assert [line["reason"] for line in logged if line["event"] == "requests refused"] == [reason]


def test_a_body_that_breaks_off_is_told_from_a_refused_one(counting: Master) -> None:
    half = BODY[: len(BODY) // 2]
    answer = counting.http.put(
        "/v1/rounds/1/updates/a",
        data=half,
        headers={"Content-Type": "application/octet-stream"},
        environ_overrides={"CONTENT_LENGTH": str(len(BODY))},
    )
    assert answer.status_code == 400
    seen = scrape(counting)
    assert seen.uploads("update") == {"broken_off": 1}
    assert seen("received_bytes_total", content="update") == len(half)
    assert seen("receive_seconds_count", kind="update") == 0


def test_an_update_that_has_to_come_again_is_not_refused(counting: Master) -> None:
    counting.http.post("/v1/pause")
    with capture_logs() as logged:
        assert counting.send_update("a", BODY).status_code == 503
    seen = scrape(counting)
    assert seen.uploads("update") == {"unavailable": 1}
    assert seen.reasons("refusals_total") == {"unavailable": 1}
    assert [line["event"] for line in logged] == ["requests refused"]
    assert seen("round_state", state="paused") == 1


def test_a_published_round_is_counted(store: RoundStore, tmp_path: Path) -> None:
    with Master(store, tmp_path / "state", rules(threshold=2)) as master:
        with capture_logs() as logged:
            for client_id in ("a", "b"):
                assert master.send_update(client_id, BODY).status_code == 200
            master.await_round(2)
        seen = scrape(master)
        for step in ("close", "publish", "round"):
            assert seen(f"{step}_seconds_count") == 1, step
        assert (seen("round"), seen("attempt"), seen("counted_clients")) == (2, 3, 0)
    counted = [line for line in logged if line["event"] == "counted"]
    assert [client for line in counted for client in line["clients"]] == ["a", "b"]
    assert {(line["round"], line["attempt"]) for line in counted} == {(1, 2)}


def test_a_model_is_counted_as_sent_and_slots_are_free_again(counting: Master) -> None:
    answer = counting.http.get("/v1/rounds/0/model")
    size = len(answer.data)
    answer.close()
    counting.http.head("/v1/rounds/0/model").close()
    seen = scrape(counting)
    assert seen("sent_bytes_total", content="model") == size
    assert (seen("transfer_slots"), seen("transfer_slots_used")) == (8, 0)
    assert seen("disk_free_bytes") > 0


def test_an_address_that_is_good_without_a_token_is_shown_to_nobody(store: RoundStore, tmp_path: Path) -> None:
    with Master(store, tmp_path / "state", redirect_models=True) as master, capture_logs() as logged:
        answer = master.http.get("/v1/rounds/0/model")
        assert answer.status_code == 307
        signature = answer.headers["Location"].partition("?")[2]
        assert len(signature) > 20
        shown = scrape(master).text + repr(logged)
        assert not [part for part in signature.split("&") if part in shown]


def test_the_spool_is_shown_as_large_as_it_is(counting: Master) -> None:
    (counting.state.spool / "unfinished").write_bytes(bytes(12_345))
    assert scrape(counting)("spool_bytes") == 12_345
    (counting.state.spool / "unfinished").unlink()


def test_garbage_makes_no_new_labels(counting: Master) -> None:
    def send_garbage(numbers: range) -> None:
        for number in numbers:
            counting.http.get(f"/nothing/{number}")
            counting.http.open(f"/v1/round?x={number}", method=f"METHOD{number}")
            counting.http.get(f"/v1/rounds/{number}x/model")
            put(counting.http, f"/v1/rounds/1/updates/-client{number}", BODY)
            put(counting.http, f"/v1/rounds/1/updates/client-{number}", b"x")

    send_garbage(range(5))
    scrape(counting)  # a request as well, which the next scrape shows
    first = scrape(counting).text.count("\n")
    send_garbage(range(5, 60))
    seen = scrape(counting)
    assert seen.text.count("\n") == first
    assert seen("requests_total", route="unmatched", method="other", status="4xx") == 60
    assert seen("requests_total", route="unmatched", method="GET", status="4xx") == 60
    assert not {
        label for name in ("requests_total", "refusals_total") for label in seen.labels(name) if "client-" in label
    }


def test_metrics_are_for_operators(store: RoundStore, tmp_path: Path) -> None:
    with Master(store, tmp_path / "state", verifier=TokenVerifier([PUBLIC])) as master:
        assert master.http.get("/metrics").status_code == 401
        roles: tuple[Role, ...] = ("client", "worker")
        for role in roles:
            assert master.http.get("/metrics", headers=token(role, "a")).status_code == 403
        authorized = token("operator", "ops")
        answer = master.http.get("/metrics", headers=authorized)
        assert answer.status_code == 200
        assert authorized["Authorization"].split()[1] not in answer.text
        assert Scrape(answer.text).reasons("refusals_total") == {"unauthenticated": 1, "forbidden": 2}


def test_an_update_without_a_token_is_no_upload_but_a_refusal_from_somewhere(store: RoundStore, tmp_path: Path) -> None:
    with Master(store, tmp_path / "state", verifier=TokenVerifier([PUBLIC])) as master, capture_logs() as logged:
        for _ in range(100):
            assert master.send_update("client-3", BODY).status_code == 401
        other = master.send_update("client-3", BODY, headers=token("client", "client-4"))
        assert other.status_code == 403
        seen = Scrape.of(master.metrics)
    assert seen.reasons("refusals_total") == {"unauthenticated": 100, "forbidden": 1}
    assert seen.uploads("update") == {"refused": 1}
    lines = [line for line in logged if "refused" in line["event"]]
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("requests refused", "unauthenticated"),
        ("requests refused", "forbidden"),
    ]
    assert lines[0]["busiest"] == "127.0.0.1"


def test_probes_of_load_balancers_are_no_news(counting: Master) -> None:
    counting.state.refuse(OSError(28, "No space left on device"), wanted=1 << 60)
    with capture_logs() as logged:
        assert counting.http.get("/readyz").status_code == 503
    assert logged == []
    assert Scrape.of(counting.metrics).reasons("refusals_total") == {}


def test_a_round_that_stands_still_is_warned_of(store: RoundStore, tmp_path: Path) -> None:
    now = [datetime.now(UTC)]
    with Master(store, tmp_path / "state", rules(threshold=3), clock=lambda: now[0]) as master:
        assert master.send_update("a", BODY).status_code == 200
        with capture_logs() as logged:
            master.tier.warn_if_still()
            assert logged == []
            now[0] += timedelta(seconds=301)
            master.tier.warn_if_still()
            master.tier.warn_if_still()
    assert logged == [
        {
            "event": "the round waits for contributors",
            "log_level": "warning",
            "round": 1,
            "attempt": 2,
            "state": "collecting",
            "for_seconds": 301,
            "counted": 1,
            "threshold": 3,
            "missing": 2,
        }
    ]
    assert Scrape.of(master.metrics)("round_age_seconds") >= 301


def test_a_master_without_s3_counts_its_tries_and_says_so_once(
    store: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    put_model = store.put_model

    def away(number: int, sha256: str, path: Path) -> None:
        tries.append(sha256)
        if len(tries) < 4:
            raise StoreUnavailable("S3 is away")
        put_model(number, sha256, path)

    monkeypatch.setattr(store, "put_model", away)
    with Master(store, tmp_path / "state", rules(threshold=1)) as master:
        with capture_logs() as logged:
            assert master.send_update("a", BODY).status_code == 200
            wait_until(lambda: master.get_round()["round"] == 2)
        assert Scrape.of(master.metrics).reasons("retries_total") == {"s3": 3}
    (line,) = [line for line in logged if line["event"] == "publishing does not get on"]
    assert (line["round"], line["attempt"], line["reason"]) == (1, 2, "S3 is away")
