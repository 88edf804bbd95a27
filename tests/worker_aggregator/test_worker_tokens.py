"""Whom a worker serves, and what it needs a token of its own for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from fedtier.store import RoundStore
from fedtier.tokens import Role, TokenVerifier, generate_keys
from tests.answers import problem
from tests.builders import trained, update_bytes
from tests.masters import Master, rules
from tests.tokens import signed
from tests.workers import Worker, served

BODY = update_bytes(trained(1), 11)
OPERATOR_KEY, PUBLIC = generate_keys()


def bearer(role: Role, subject: str, *, key: bytes = OPERATOR_KEY, days: float = 1) -> str:
    return signed(key, role, subject, lifetime=timedelta(days=days))


def auth(role: Role, subject: str, **options: Any) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {bearer(role, subject, **options)}"}}


def test_tokens_say_who_may_do_what_in_every_tier(store: RoundStore, tmp_path: Path) -> None:
    old_key, old_public = generate_keys()
    verifier = TokenVerifier([old_public, PUBLIC])
    with (
        Master(store, tmp_path / "master", rules(threshold=9), verifier=verifier) as master,
        served(master.app) as (url, _),
        Worker(url, tmp_path / "worker", token=bearer("worker", "w-1"), verifier=verifier) as worker,
    ):
        worker.ready()
        for tier in (master, worker):
            me, body = f"client-{1 if tier is master else 2}", BODY
            problem(tier.send_update(me, body), 401, "unauthenticated")
            assert tier.send_update(me, body).headers["WWW-Authenticate"] == "Bearer"
            problem(tier.send_update(me, body, **auth("client", me, days=-1)), 401, "unauthenticated")
            problem(tier.send_update(me, body, **auth("client", me, key=generate_keys()[0])), 401, "unauthenticated")
            problem(tier.send_update(me, body, **auth("client", "client-7")), 403, "forbidden")
            problem(tier.send_update(me, body, **auth("worker", me)), 403, "forbidden")
            problem(tier.send_partial(b"x", **auth("client", me)), 403, "forbidden")
            problem(tier.http.get("/v1/round"), 401, "unauthenticated")
            problem(tier.http.get("/v1/rounds/0/model"), 401, "unauthenticated")
            problem(tier.http.get("/v1/rounds/0/manifest"), 401, "unauthenticated")
            assert tier.http.get("/v1/round", **auth("client", me)).status_code == 200
            assert tier.http.get("/healthz").status_code == tier.http.get("/readyz").status_code == 200
            assert tier.send_update(me, body, **auth("client", me)).status_code == 200
            assert tier.send_update(me, body, **auth("client", me, key=old_key)).status_code == 200
        for path in ("/v1/pause", "/v1/resume", "/v1/rounds/1/close"):
            problem(master.http.post(path), 401, "unauthenticated")
            problem(master.http.post(path, **auth("client", "client-1")), 403, "forbidden")
        assert master.http.post("/v1/pause", **auth("operator", "me")).status_code == 200


def test_a_worker_without_a_good_token_is_no_fault_of_its_clients(store: RoundStore, tmp_path: Path) -> None:
    with (
        Master(store, tmp_path / "master", rules(), verifier=TokenVerifier([PUBLIC])) as master,
        served(master.app) as (url, _),
        Worker(url, tmp_path / "worker", token=bearer("client", "w-1")) as worker,
    ):
        worker.ready()
        problem(worker.send_update("client-1", BODY), 503, "unavailable")
        worker.await_empty_spool()
