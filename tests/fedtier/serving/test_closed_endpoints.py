"""Nothing but the health checks is answered to strangers, and each role may do what is its own, on both aggregators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from fedtier.tokens import ROLES, Role, TokenVerifier, generate_keys
from tests.builders import trained, update_bytes
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server
from tests.tokens import signed
from tests.workers import Worker, served

SIGNING, PUBLIC = generate_keys()
OPEN: Final = {"/healthz", "/readyz"}
ME: Final = "client-1"
ALL: Final[frozenset[Role]] = frozenset(ROLES)
OPERATOR: Final[frozenset[Role]] = frozenset({"operator"})
ALLOWED: Final[dict[tuple[str, str], frozenset[Role]]] = {
    ("GET", "/v1/openapi.json"): ALL,
    ("GET", "/v1/round"): ALL,
    ("GET", "/v1/rounds/<number>/model"): ALL,
    ("GET", "/v1/rounds/<number>/manifest"): ALL,
    ("PUT", "/v1/rounds/<number>/updates/<client_id>"): frozenset({"client"}),
    ("PUT", "/v1/rounds/<number>/partials/<batch_id>"): frozenset({"worker"}),
    ("POST", "/v1/rounds/<number>/close"): OPERATOR,
    ("POST", "/v1/pause"): OPERATOR,
    ("POST", "/v1/resume"): OPERATOR,
    ("GET", "/metrics"): OPERATOR,
}
"""Who may do what; an endpoint that is not here fails these tests."""


def token(role: Role, subject: str = ME) -> str:
    return signed(SIGNING, role, subject)


@pytest.fixture(scope="module")
def tiers(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Flask]]:
    """The apps of a master and a worker that ask for tokens, of rounds that no test closes."""
    folder: Path = tmp_path_factory.mktemp("tiers")
    store, verifier = store_of(s3_server), TokenVerifier([PUBLIC])
    publish_initial(store, folder)
    with (
        Master(store, folder / "master", rules(threshold=1000, min_clients=1000), verifier=verifier) as master,
        served(master.app) as (url, _),
        Worker(url, folder / "worker", token=token("worker"), verifier=verifier) as worker,
    ):
        yield {"master": master.app, "worker": worker.ready().app}


@pytest.fixture(params=["master", "worker"])
def app(request: pytest.FixtureRequest, tiers: dict[str, Flask]) -> Flask:
    return tiers[request.param]


def endpoints(app: Flask) -> list[tuple[str, Rule]]:
    """Return every method of every path that an app answers."""
    found = [(method, rule) for rule in app.url_map.iter_rules() for method in sorted(rule.methods or ())]
    assert len(found) > len(OPEN)
    return found


def ask(app: Flask, method: str, rule: str, **headers: str) -> TestResponse:
    path = (
        rule.replace("<number>", "0" if method == "GET" else "1").replace("<client_id>", ME).replace("<batch_id>", "b")
    )
    assert "<" not in path
    body = update_bytes(trained(1)) if "/updates/" in path else b"x" if method == "PUT" else None
    kind = {} if body is None else {"Content-Type": "application/octet-stream"}
    return app.test_client().open(path, method=method, data=body, headers={**kind, **headers})


def test_every_endpoint_but_the_health_checks_is_closed_to_strangers(app: Flask) -> None:
    for method, rule in endpoints(app):
        for headers in ({}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic YTpi"}):
            status = ask(app, method, rule.rule, **headers).status_code
            assert (status == 401) == (rule.rule not in OPEN), (method, rule.rule, headers, status)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "ODD"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/round/",
        "/v1//round",
        "/nothing",
        "/static/x",
        "/healthz/",
        "/healthz/../v1/round",
        "//healthz",
    ],
)
def test_a_path_that_is_not_there_is_closed_to_strangers_as_well(app: Flask, path: str, method: str) -> None:
    assert app.test_client().open(path, method=method).status_code == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "ODD"])
def test_a_wrong_method_is_closed_to_strangers_as_well(app: Flask, method: str) -> None:
    for path in ("/v1/round", "/v1/rounds/0/model", "/metrics"):
        assert app.test_client().open(path, method=method).status_code == 401


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_is_its_own(app: Flask, role: Role) -> None:
    authorization = f"Bearer {token(role)}"
    for method, rule in endpoints(app):
        if method in {"HEAD", "OPTIONS"} or rule.rule in OPEN:
            continue
        status = ask(app, method, rule.rule, Authorization=authorization).status_code
        allowed = role in ALLOWED[method, rule.rule]
        assert status not in {401, 404, 405, 500}, (method, rule.rule, status)
        assert (status == 403) == (not allowed), (method, rule.rule, status)


@pytest.mark.parametrize("year", ["99999", "9" * 12, "9" * 30, "-1", "0"])
@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Range"])
def test_a_date_that_is_none_is_no_condition(app: Flask, name: str, year: str) -> None:
    headers = {name: f"Sun, 06 Nov {year} 08:49:37 GMT", "Range": "bytes=0-1"}
    headers["Authorization"] = f"Bearer {token('client', f'{name}.{year}')}"
    for path in ("/v1/round", "/v1/rounds/0/model", "/v1/rounds/0/manifest"):
        with app.test_client().get(path, headers=headers) as answer:
            assert answer.status_code in {200, 206}, path


def test_a_client_uploads_only_as_itself(app: Flask) -> None:
    for subject in ("client-2", "client", "client-10", "Client-1", "client-1/", "client-1%20"):
        answer = ask(
            app, "PUT", "/v1/rounds/<number>/updates/<client_id>", Authorization=f"Bearer {token('client', subject)}"
        )
        assert answer.status_code == 403, subject
