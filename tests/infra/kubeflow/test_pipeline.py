"""The compiled pipeline: kept equal to its source, complete, and free of what must not be in it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from client.task import BUILT_IN
from infra.kubeflow import components
from infra.kubeflow.build import Build
from infra.kubeflow.pipeline import COMPILED, main, write_pipeline

TASKS = {"prepare-data", "start-aggregators", "train-client", "show-results", "tear-down"}
DEFAULTS = {
    "NUM_OF_CLIENTS": 2,
    "ROUNDS": 3,
    "EPOCHS": 1,
    "TASK": "mnist_cnn",
    "DATA_URLS": [],
    "SEED": 0,
    "WORKERS": 2,
    "MIN_CLIENTS": 1,
    "DEADLINE": 3600,
    "CPU_REQUEST": "500m",
    "CPU_LIMIT": "1",
    "MEMORY_REQUEST": "1Gi",
    "MEMORY_LIMIT": "2Gi",
    "STORAGE_SIZE": "10Gi",
    "IMAGE": "fedtier-kubeflow:0.1.0",
    "SERVER_IMAGE": "fedtier-server:0.1.0",
    "NGINX_IMAGE": "docker.io/library/nginx:1.28",
}
RESOURCES = {
    "resourceCpuRequest": "cpu_request",
    "resourceCpuLimit": "cpu_limit",
    "resourceMemoryRequest": "memory_request",
    "resourceMemoryLimit": "memory_limit",
}

Document = Mapping[str, Any]


def documents(text: str) -> tuple[Document, Document]:
    pipeline, platform = yaml.safe_load_all(text)
    return pipeline, platform


@pytest.fixture(scope="module")
def pipeline() -> Document:
    return documents(COMPILED.read_text())[0]


def compiled(folder: Path, **build: Any) -> tuple[Document, Document]:
    path = folder / "pipeline.yaml"
    write_pipeline(path, Build(**build))
    return documents(path.read_text())


def graphs(pipeline: Document) -> Iterator[tuple[str, Document, Document]]:
    """Yield each graph of tasks with its name and the parameters that it is given."""
    parts = {"root": pipeline["root"], **pipeline["components"]}
    for name, part in parts.items():
        if "dag" in part:
            yield name, part["dag"]["tasks"], part.get("inputDefinitions", {}).get("parameters", {})


def tasks(pipeline: Document) -> dict[str, Document]:
    """Return what runs in a container, by the names of the tasks."""
    return {
        name: task
        for _, graph, _ in graphs(pipeline)
        for name, task in graph.items()
        if "executorLabel" in pipeline["components"][task["componentRef"]["name"]]
    }


def test_the_compiled_pipeline_is_that_of_its_source(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"

    result = CliRunner().invoke(main, ["--out", str(path)])

    assert result.exit_code == 0, result.output
    assert path.read_text() == COMPILED.read_text(), "compile it anew: python -m infra.kubeflow.pipeline"


def test_nothing_is_installed_when_it_runs() -> None:
    assert not re.search(r"\bpip3?\s+install|\b(apt|apt-get|conda|curl|wget)\b", COMPILED.read_text())


def test_every_parameter_has_its_default_and_says_what_it_is(pipeline: Document) -> None:
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]

    assert {name: about["defaultValue"] for name, about in parameters.items()} == DEFAULTS
    assert all(re.fullmatch(r"[A-Z][^{}]+\.", about["description"]) for about in parameters.values())


def test_the_tasks_are_those_of_a_federation(pipeline: Document) -> None:
    found = tasks(pipeline)

    assert found.keys() == TASKS
    titles = {task["taskInfo"]["name"] for task in found.values()}
    assert titles == {"Prepare data", "Start aggregators", "Train a client", "Show results", "Tear down"}


def test_whatever_a_task_takes_is_handed_on_by_all_around_it(pipeline: Document) -> None:
    for name, graph, parameters in graphs(pipeline):
        for task_name, task in graph.items():
            wanted = task.get("inputs", {}).get("parameters", {})
            taken = {
                value["componentInputParameter"] for value in wanted.values() if "componentInputParameter" in value
            }
            own = {task["parameterIterator"]["itemInput"]} if "parameterIterator" in task else set()
            assert taken - own <= parameters.keys(), f"{name} does not hand on what {task_name} takes"
            component = pipeline["components"][task["componentRef"]["name"]]
            needed = component.get("inputDefinitions", {}).get("parameters", {}).keys()
            assert needed - own <= wanted.keys(), f"{task_name} in {name} lacks what its component takes"


def test_every_task_is_run_anew_in_the_image_and_with_the_resources_of_the_run(pipeline: Document) -> None:
    for name, task in tasks(pipeline).items():
        component = pipeline["components"][task["componentRef"]["name"]]
        container = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        assert not task["cachingOptions"], name
        assert container["image"].lower() == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert {key: value.lower() for key, value in container["resources"].items()} == {
            key: f"{{{{$.inputs.parameters['pipelinechannel--{channel}']}}}}" for key, channel in RESOURCES.items()
        }, name


def test_tear_down_and_results_come_whatever_came_of_what_is_before_them(pipeline: Document) -> None:
    always = {name for name, task in tasks(pipeline).items() if "triggerPolicy" in task}

    assert always == {"show-results", "tear-down"}
    root = pipeline["root"]["dag"]["tasks"]
    assert root["tear-down"]["dependentTasks"] == [name for name in root if name != "tear-down"]
    assert all("taskFinalStatus" not in str(task) for task in tasks(pipeline).values()), "older backends refuse it"


def test_the_clients_are_a_loop_over_what_was_prepared(pipeline: Document) -> None:
    [loop] = [task for _, graph, _ in graphs(pipeline) for task in graph.values() if "parameterIterator" in task]
    assert "iteratorPolicy" not in loop, "all clients run at once"
    run = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]

    clients = run["training"]["inputs"]["parameters"]["clients"]["taskOutputParameter"]
    assert clients == {"producerTask": "prepare-data", "outputParameterKey": "Output"}
    assert run["start-aggregators"]["dependentTasks"] == ["prepare-data"]


def test_clients_and_whoever_tears_down_are_tried_again(pipeline: Document) -> None:
    tries = {
        name: task["retryPolicy"]["maxRetryCount"] for name, task in tasks(pipeline).items() if "retryPolicy" in task
    }

    assert tries == {"train-client": 3, "show-results": 2, "tear-down": 3}


def test_a_task_is_tried_again_however_long_it_ran_before(pipeline: Document) -> None:
    # Argo counts from the start of the first try, and stops a later one that is still running then.
    limits = {task["retryPolicy"]["backoffMaxDuration"] for task in tasks(pipeline).values() if "retryPolicy" in task}

    assert limits == {f"{30 * 24 * 3600}s"}


def test_the_volume_is_what_the_pipeline_was_compiled_for(tmp_path: Path) -> None:
    _, usual = documents(COMPILED.read_text())
    _, other = compiled(tmp_path, workspace_size="20Gi", storage_class="fast", access_mode="ReadWriteOnce")

    def volume(platform: Document) -> Document:
        found: Document = platform["platforms"]["kubernetes"]["pipelineConfig"]["workspace"]
        return found

    assert volume(usual) == {"size": "5Gi", "kubernetes": {"pvcSpecPatch": {"accessModes": ["ReadWriteMany"]}}}
    patch = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
    assert volume(other) == {"size": "20Gi", "kubernetes": {"pvcSpecPatch": patch}}


@pytest.mark.parametrize("size", ["", "big", "5 Gi", "-1Gi", "0Gi"])
def test_what_is_no_size_is_refused_before_anything_is_written(size: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"

    result = CliRunner().invoke(main, ["--workspace-size", size, "--out", str(path)])

    assert result.exit_code == 2
    assert f"{size!r} is no size; wanted a number with a unit, such as 20Gi" in " ".join(result.output.split())
    assert not path.exists()


def test_every_task_is_the_user_and_the_image_that_the_pipeline_was_compiled_for(tmp_path: Path) -> None:
    pipeline, platform = compiled(tmp_path, run_as_user=1000, image="registry.example/fedtier-kubeflow:7")

    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name: one["securityContext"]["runAsUser"] for name, one in executors.items()} == {
        f"exec-{name}": "1000"
        for name in TASKS  # 64 bits are text in this form of JSON
    }
    image = pipeline["root"]["inputDefinitions"]["parameters"]["IMAGE"]
    assert image["defaultValue"] == "registry.example/fedtier-kubeflow:7"


def test_only_tasks_whose_data_can_be_fetched_are_told_of(pipeline: Document) -> None:
    described = pipeline["root"]["inputDefinitions"]["parameters"]["TASK"]["description"]

    assert {name for name in BUILT_IN if name in described} == set(BUILT_IN) - {"cifar_cnn"}


def test_a_component_does_nothing_by_itself() -> None:
    source = ast.parse(inspect.getsource(components))
    bodies = [node for node in source.body if isinstance(node, ast.FunctionDef)]

    assert len(bodies) == len(TASKS)
    for body in bodies:
        imported = [node for node in ast.walk(body) if isinstance(node, ast.ImportFrom)]
        assert {str(node.module).rpartition(".")[0] for node in imported} <= {
            "",
            "infra.kubeflow.steps",
            "infra.kubeflow",
        }
        assert not [node for node in ast.walk(body) if isinstance(node, ast.If | ast.Try | ast.While)], body.name
