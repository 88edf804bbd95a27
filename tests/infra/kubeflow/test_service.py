"""Whom a run is submitted to: who asks, who is believed, and what is said of those who do not answer as they should."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.authorities import Authority
from tests.infra.kubeflow.kfp_api import KfpApi, Written, listening, run, serving
from tests.infra.kubeflow.submissions import submit


def test_runs_of_one_experiment_share_it_and_it_is_the_namespaces_own() -> None:
    api = KfpApi(
        Written([run("SUCCEEDED")]), multi_user=True, experiments=[{"display_name": "fedtier", "experiment_id": "x"}]
    )
    with serving(api) as host:
        done = [submit("--host", host, "--namespace=lab", "--no-follow") for _ in range(2)]

    assert [one.returncode for one in done] == [0, 0]
    assert [(one["display_name"], one.get("namespace")) for one in api.experiments] == [
        ("fedtier", None),
        ("fedtier", "lab"),
    ]
    assert isinstance(api.course, Written)
    assert {one["experiment_id"] for one in api.course.runs} == {"experiment-1"}


def test_where_there_are_many_users_a_namespace_is_asked_for() -> None:
    with serving(KfpApi(Written([run("SUCCEEDED")]), multi_user=True)) as host:
        done = submit("--host", host)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"Error: {host} has many users, each with a namespace of runs; name yours by --namespace\n")


def test_a_service_that_is_away_meanwhile_is_asked_again_and_told_of_once() -> None:
    away = (503, {"code": 14, "message": "upstream connect error"})
    api = KfpApi(Written([run("SUCCEEDED")]), refusals=[away, away])
    with serving(api) as host:
        done = submit("--host", host, "--every=0.05")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        f"{host} does not answer: upstream connect error; asking again",
        "the run succeeded",
    ]


def test_a_refusal_ends_the_following_with_a_sentence() -> None:
    refused = (403, {"code": 7, "message": "runs of others", "error": "runs of others", "details": [{"stack": "long"}]})
    with serving(KfpApi(Written([run("SUCCEEDED")]), refusals=[refused])) as host:
        done = submit("--host", host)

    assert (done.returncode, done.stderr) == (
        1,
        f"Error: {host} does not allow this: runs of others; --namespace says whose runs these are\n",
    )


def test_a_token_that_is_replaced_while_a_run_lasts_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-first")

    class Replaced(Written):
        """The service takes another token from the first look on, and the file has it by then."""

        def look(self) -> dict[str, Any]:
            file.write_text("the-second")
            api.token = "the-second"
            return super().look()

    api = KfpApi(Replaced([run("RUNNING"), run("SUCCEEDED")]), token="the-first")
    with serving(api) as host:
        done = submit("--host", host, "--token-file", str(file), "--every=0.05")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the run succeeded"


def test_a_token_is_shown_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-of-ours\n")
    api = KfpApi(Written([run("SUCCEEDED")]), token="secret-of-ours")
    with serving(api) as host:
        taken = submit("--host", host, "--token-file", str(file))
        asked = submit("--host", host)
        file.write_text("secret-of-others")
        refused = submit("--host", host, "--token-file", str(file))
        file.write_text("two words")
        unusable = submit("--host", host, "--token-file", str(file))

    said = "Unauthenticated: the token is not one of ours"
    assert taken.returncode == 0, taken.stderr
    assert asked.stderr == f"Error: {host} asks who you are: {said}; give a token by --token-file\n"
    assert refused.stderr == f"Error: {host} does not take the token in {file}: {said}\n"
    assert unusable.stderr == f"Error: --token-file {file} does not hold one token and nothing else\n"
    assert {one.returncode for one in (asked, refused, unusable)} == {1}
    assert not [one for one in (taken, refused) if "secret-of" in one.stdout + one.stderr]


def test_a_service_is_believed_by_the_authority_that_is_named_and_by_no_other(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    missing = tmp_path / "missing.pem"
    with serving(KfpApi(Written([run("SUCCEEDED")])), ours.pair("127.0.0.1")) as host:
        believed = submit("--host", host, "--ca-certs", str(ours.certificate))
        doubted = submit("--host", host, "--ca-certs", str(others.certificate))
        nobody = submit("--host", host, "--ca-certs", str(missing))

    assert believed.returncode == 0, believed.stderr
    assert (doubted.returncode, nobody.returncode) == (1, 1)
    assert doubted.stderr.count("\n") == nobody.stderr.count("\n") == 1
    assert "--ca-certs" in doubted.stderr
    assert nobody.stderr.startswith(f"Error: --ca-certs {missing} ")


def test_a_page_that_asks_to_log_in_is_no_service() -> None:
    with _page(b"<html>Log in</html>") as host:
        done = submit("--host", host)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {host} answers, but not as the API of Kubeflow Pipelines does; ")


def test_nobody_at_the_address_is_said_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = submit("--host", host)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {host} does not answer: ")
    assert done.stderr.endswith("Connection refused; start it, or name another by --host\n")


@pytest.mark.parametrize(
    ("host", "complaint"),
    [
        ("http://kubeflow.example.com", "--host http://kubeflow.example.com is plain HTTP to another machine"),
        ("kubeflow.example.com", "--host 'kubeflow.example.com' is no address"),
        ("https://me:pass@kubeflow", "--host names a user before 'kubeflow'"),
    ],
)
def test_no_token_leaves_in_plain_and_an_address_is_a_whole_one(host: str, complaint: str) -> None:
    done = submit("--host", host)

    assert (done.returncode, done.stdout) == (1, "")
    # Before anybody is asked: where there is no such host, it would fail all the same.
    assert done.stderr.startswith(f"Error: {complaint}")
    assert "pass@" not in done.stderr


@contextmanager
def _page(content: bytes) -> Iterator[str]:
    """Serve a page, whatever is asked."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Page) as host:
        yield host
