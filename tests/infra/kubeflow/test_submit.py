"""``python -m infra.kubeflow.submit`` against a service that answers as Kubeflow Pipelines does, over real HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubeflow.parameters import arguments_of, parameters_of
from infra.kubeflow.progress import titles_of
from infra.kubeflow.submit import read_pipeline
from tests.authorities import Authority
from tests.infra.kubeflow.kfp_api import RUN, KfpApi, Written, listening, run, serving, task
from tests.infra.programs import CHECKOUT

_PIPELINE, _PLATFORM = read_pipeline(CHECKOUT / "infra" / "kubeflow" / "pipeline.yaml")
_TITLES = titles_of(_PIPELINE)
_SECONDS = 120.0
_GOOD = (
    run("PENDING"),
    run("RUNNING", task("root", "RUNNING"), task("prepare-data-driver", "SUCCEEDED", seconds=3)),
    run("RUNNING", task("prepare-data", "RUNNING", started=1)),
    run(
        "RUNNING",
        task("prepare-data", "SUCCEEDED", started=1, seconds=7),
        task("train-client", "RUNNING", number=0, started=2),
        task("train-client", "RUNNING", number=1, started=3),
    ),
    run(
        "SUCCEEDED",
        task("prepare-data", "SUCCEEDED", started=1, seconds=7),
        task("train-client", "SUCCEEDED", number=0, started=2, seconds=40),
        task("train-client", "SUCCEEDED", number=1, started=3, seconds=50),
        task("tear-down", "SUCCEEDED", started=4, seconds=9),
    ),
)


def test_a_run_is_followed_task_by_task_until_it_has_succeeded() -> None:
    api = KfpApi(Written(_GOOD))
    with serving(api) as host:
        done = _submit("--host", host, "--every=0.05")

    title = {key: one.text for key, one in _TITLES.items()}
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"run   {RUN}",
        f"page  {host}/#/runs/details/{RUN}",
        f"{title['prepare-data']} runs",
        f"{title['prepare-data']} is done, 7 s",
        f"{title['train-client']} #1 runs",
        f"{title['train-client']} #2 runs",
        f"{title['train-client']} #1 is done, 40 s",
        f"{title['train-client']} #2 is done, 50 s",
        f"{title['tear-down']} is done, 9 s",
        "the run succeeded",
    ]
    assert done.stderr == ""


def test_what_is_submitted_is_the_compiled_pipeline_with_the_parameters_that_were_given() -> None:
    course = Written([run("SUCCEEDED")])
    words = (
        "--clients=3",
        "--rounds=2",
        "--task=tabular_cnn",
        "--data-url=https://a/b.csv",
        "--data-url=https://a/c.csv",
    )
    with serving(KfpApi(course)) as host:
        done = _submit(
            "--host", host, *words, "--seed=0", "--run-name=mine", "--service-account=default-editor", "--json"
        )

    given = {
        **{"NUM_OF_CLIENTS": 3, "ROUNDS": 2, "TASK": "tabular_cnn", "SEED": 0},
        "DATA_URLS": ["https://a/b.csv", "https://a/c.csv"],
    }
    [submitted] = course.runs
    assert done.returncode == 0, done.stderr
    assert submitted["pipeline_spec"] == {"pipeline_spec": _PIPELINE, "platform_spec": _PLATFORM}
    assert submitted["runtime_config"]["parameters"] == given
    assert (submitted["display_name"], submitted["service_account"]) == ("mine", "default-editor")
    assert json.loads(done.stdout.splitlines()[0]) == {
        **{"event": "submitted", "run": RUN, "page": f"{host}/#/runs/details/{RUN}"},
        "arguments": given,
    }


def test_every_parameter_of_the_pipeline_has_a_flag_and_only_those_given_are_sent() -> None:
    parameters = parameters_of(_PIPELINE)
    shown = _submit("--help").stdout

    for name in parameters:
        flag = "--" + name.lower().replace("_", "-")
        assert flag.removesuffix("s") in shown
    assert all(about.get("description") for about in parameters.values())
    nothing = {name: () if about["parameterType"] == "LIST" else None for name, about in parameters.items()}
    assert arguments_of(nothing, parameters) == {}


def test_a_failure_names_the_task_and_what_kubeflow_says_or_where_to_look() -> None:
    told = task("start-aggregators", "FAILED", seconds=30)
    told |= {"error": {"code": 2, "message": "the image cannot be pulled\x1b[2J"}, "pod_name": "pod-1"}
    failed = run(
        "FAILED",
        told,
        task("train-client", "FAILED", seconds=5),
        task("executor", "FAILED", seconds=5),
        error={"message": "a task failed"},
    )
    with serving(KfpApi(Written([failed]))) as host:
        done = _submit("--host", host)

    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert f"{_TITLES['start-aggregators'].text} (pod pod-1): the image cannot be pulled\\x1b[2J" in lines
    assert (
        f"{_TITLES['train-client'].text} #1: Kubeflow does not say why; the log of this task, on the run's page, does"
        in lines
    )
    assert lines[-1] == "the run failed: a task failed"


def test_a_run_that_succeeded_but_for_what_comes_last_has_failed() -> None:
    ended = run("SUCCEEDED", task("tear-down", "FAILED", seconds=30))
    with serving(KfpApi(Written([ended]))) as host:
        done = _submit("--host", host, "--json")

    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert facts[-2:] == [
        {"event": "failure", "task": _TITLES["tear-down"].text, "error": "", "pod": ""},
        {"event": "ended", "state": "FAILED", "error": ""},
    ]


def test_a_cancelled_run_has_not_succeeded() -> None:
    with serving(KfpApi(Written([run("RUNNING"), run("CANCELING"), run("CANCELED")]))) as host:
        done = _submit("--host", host, "--every=0.05")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "the run was cancelled")


def test_without_following_it_ends_when_the_run_is_submitted() -> None:
    api = KfpApi(Written(_GOOD))
    with serving(api) as host:
        done = _submit("--host", f"{host}/", "--no-follow")

    assert (done.returncode, done.stdout) == (0, f"run   {RUN}\npage  {host}/#/runs/details/{RUN}\n")
    assert not [one for one in api.asked if one.startswith("GET /apis/v2beta1/runs")]


def test_runs_of_one_experiment_share_it_and_it_is_the_namespaces_own() -> None:
    api = KfpApi(
        Written([run("SUCCEEDED")]), multi_user=True, experiments=[{"display_name": "fedtier", "experiment_id": "x"}]
    )
    with serving(api) as host:
        done = [_submit("--host", host, "--namespace=lab", "--no-follow") for _ in range(2)]

    assert [one.returncode for one in done] == [0, 0]
    assert [(one["display_name"], one.get("namespace")) for one in api.experiments] == [
        ("fedtier", None),
        ("fedtier", "lab"),
    ]
    assert isinstance(api.course, Written)
    assert {one["experiment_id"] for one in api.course.runs} == {"experiment-1"}


def test_where_there_are_many_users_a_namespace_is_asked_for() -> None:
    with serving(KfpApi(Written([run("SUCCEEDED")]), multi_user=True)) as host:
        done = _submit("--host", host)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"Error: {host} has many users, each with a namespace of runs; name yours by --namespace\n")


def test_a_service_that_is_away_meanwhile_is_asked_again_and_told_of_once() -> None:
    away = (503, {"code": 14, "message": "upstream connect error"})
    api = KfpApi(Written([run("SUCCEEDED")]), refusals=[away, away])
    with serving(api) as host:
        done = _submit("--host", host, "--every=0.05")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        f"{host} does not answer: upstream connect error; asking again",
        "the run succeeded",
    ]


def test_a_refusal_ends_the_following_with_a_sentence() -> None:
    refused = (403, {"code": 7, "message": "runs of others", "error": "runs of others", "details": [{"stack": "long"}]})
    with serving(KfpApi(Written([run("SUCCEEDED")]), refusals=[refused])) as host:
        done = _submit("--host", host)

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
        done = _submit("--host", host, "--token-file", str(file), "--every=0.05")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the run succeeded"


def test_a_token_is_shown_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-of-ours\n")
    api = KfpApi(Written([run("SUCCEEDED")]), token="secret-of-ours")
    with serving(api) as host:
        taken = _submit("--host", host, "--token-file", str(file))
        asked = _submit("--host", host)
        file.write_text("secret-of-others")
        refused = _submit("--host", host, "--token-file", str(file))
        file.write_text("two words")
        unusable = _submit("--host", host, "--token-file", str(file))

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
        believed = _submit("--host", host, "--ca-certs", str(ours.certificate))
        doubted = _submit("--host", host, "--ca-certs", str(others.certificate))
        nobody = _submit("--host", host, "--ca-certs", str(missing))

    assert believed.returncode == 0, believed.stderr
    assert (doubted.returncode, nobody.returncode) == (1, 1)
    assert doubted.stderr.count("\n") == nobody.stderr.count("\n") == 1
    assert "--ca-certs" in doubted.stderr
    assert nobody.stderr.startswith(f"Error: --ca-certs {missing} ")


def test_a_page_that_asks_to_log_in_is_no_service() -> None:
    with _page(b"<html>Log in</html>") as host:
        done = _submit("--host", host)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {host} answers, but not as the API of Kubeflow Pipelines does; ")


def test_nobody_at_the_address_is_said_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = _submit("--host", host)

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
    done = _submit("--host", host)

    assert (done.returncode, done.stdout) == (1, "")
    # Before anybody is asked: where there is no such host, it would fail all the same.
    assert done.stderr.startswith(f"Error: {complaint}")
    assert "pass@" not in done.stderr


def test_what_is_fixed_when_it_is_compiled_is_compiled_anew() -> None:
    course = Written([run("SUCCEEDED")])
    words = ("--workspace-size=7Gi", "--storage-class=files", "--access-mode=ReadWriteMany", "--run-as-user=4711")
    with serving(KfpApi(course)) as host:
        done = _submit("--host", host, *words)

    [submitted] = course.runs
    whole = submitted["pipeline_spec"]
    assert done.returncode == 0, done.stderr
    assert whole["platform_spec"]["platforms"]["kubernetes"]["pipelineConfig"]["workspace"] == {
        "size": "7Gi",
        "kubernetes": {"pvcSpecPatch": {"storageClassName": "files", "accessModes": ["ReadWriteMany"]}},
    }
    assert "4711" in yaml.safe_dump(whole["platform_spec"])
    assert parameters_of(whole["pipeline_spec"]) == parameters_of(_PIPELINE)


def test_ctrl_c_ends_the_following_and_says_that_the_run_goes_on() -> None:
    api = KfpApi(Written([run("RUNNING", task("prepare-data", "RUNNING"))]))
    with serving(api) as host, _started("--host", host, "--every=0.05") as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=_SECONDS)

    assert seen[2] == f"{_TITLES['prepare-data'].text} runs\n"
    assert (process.returncode, out) == (130, "")
    assert err.startswith("the following was ended by SIGINT; the run goes on. ")
    assert f"{host}/#/runs/details/{RUN}" in err


def _submit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*words), **_SURROUNDINGS, capture_output=True, timeout=_SECONDS, check=False)


@contextmanager
def _started(*words: str) -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(_command(*words), **_SURROUNDINGS, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


_SURROUNDINGS: dict[str, Any] = {
    "cwd": CHECKOUT,
    "env": {name: value for name, value in os.environ.items() if not name.startswith("FEDTIER_")},
    "text": True,
}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "infra.kubeflow.submit", *words]


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
