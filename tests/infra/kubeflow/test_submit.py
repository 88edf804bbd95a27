"""``python -m infra.kubeflow.submit`` against a service that answers as Kubeflow Pipelines does, over real HTTP."""

from __future__ import annotations

import json
import signal

import yaml

from infra.kubeflow.parameters import arguments_of, parameters_of
from infra.kubeflow.progress import titles_of
from infra.kubeflow.submit import read_pipeline
from tests.infra.kubeflow.kfp_api import RUN, KfpApi, Written, run, serving, task
from tests.infra.kubeflow.submissions import PATIENCE, started, submit
from tests.infra.programs import CHECKOUT

_PIPELINE, _PLATFORM = read_pipeline(CHECKOUT / "infra" / "kubeflow" / "pipeline.yaml")
_TITLES = titles_of(_PIPELINE)
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
        done = submit("--host", host, "--every=0.05")

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
        done = submit(
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
    shown = submit("--help").stdout

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
        done = submit("--host", host)

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
        done = submit("--host", host, "--json")

    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert facts[-2:] == [
        {"event": "failure", "task": _TITLES["tear-down"].text, "error": "", "pod": ""},
        {"event": "ended", "state": "FAILED", "error": ""},
    ]


def test_a_cancelled_run_has_not_succeeded() -> None:
    with serving(KfpApi(Written([run("RUNNING"), run("CANCELING"), run("CANCELED")]))) as host:
        done = submit("--host", host, "--every=0.05")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "the run was cancelled")


def test_without_following_it_ends_when_the_run_is_submitted() -> None:
    api = KfpApi(Written(_GOOD))
    with serving(api) as host:
        done = submit("--host", f"{host}/", "--no-follow")

    assert (done.returncode, done.stdout) == (0, f"run   {RUN}\npage  {host}/#/runs/details/{RUN}\n")
    assert not [one for one in api.asked if one.startswith("GET /apis/v2beta1/runs")]


def test_what_is_fixed_when_it_is_compiled_is_compiled_anew() -> None:
    course = Written([run("SUCCEEDED")])
    words = ("--workspace-size=7Gi", "--storage-class=files", "--access-mode=ReadWriteMany", "--run-as-user=4711")
    with serving(KfpApi(course)) as host:
        done = submit("--host", host, *words)

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
    with serving(api) as host, started("--host", host, "--every=0.05") as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert seen[2] == f"{_TITLES['prepare-data'].text} runs\n"
    assert (process.returncode, out) == (130, "")
    assert err.startswith("the following was ended by SIGINT; the run goes on. ")
    assert f"{host}/#/runs/details/{RUN}" in err
