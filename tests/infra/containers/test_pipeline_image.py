"""The image of a pipeline's tasks: what Kubeflow runs in it, as it does."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.infra.containers.conftest import Images
from tests.infra.programs import CHECKOUT

_WORKSPACE = "/kfp-workspace"
_OUTPUTS = "/tmp/outputs"  # of the container, where nobody else is
# Kubeflow's pods have a root that can be written to; that of ours is asked not to be needed.
_WRITABLE = (f"--tmpfs={_WORKSPACE}:mode=1777", "--network=none")
_EVERY_MODULE = """
import importlib, pkgutil, infra.kubeflow as package
names = sorted(one.name for one in pkgutil.walk_packages(package.__path__, "infra.kubeflow."))
print([importlib.import_module(name).__name__ for name in names if name != "infra.kubeflow.submit"])
"""


def test_a_task_runs_in_it_by_the_command_of_the_compiled_pipeline_and_needs_no_network(images: Images) -> None:
    inputs = {"workspace": _WORKSPACE, "task": "tabular_cnn", "clients": 3, "urls": [], "seed": 0}
    command, arguments = _executor("prepare-data", inputs, artifacts=["label_distribution"])
    # Its outputs would go with the container.
    shown = f'"$@" && cat {_OUTPUTS}/executor_output.json && ls {_WORKSPACE}/*'

    printed = images.run(
        "kubeflow", "-ec", shown, "task", *command, *arguments, program="sh", options=(*_WRITABLE, "--user=10001")
    )

    assert '"parameterValues": {"Output": ["client-0", "client-1", "client-2"]}' in printed
    assert {"client-2.safetensors", "test.safetensors", "initial.safetensors"} <= set(printed.split())
    assert "pip" not in command[2]


def test_whoever_runs_it_finds_the_programs_that_tasks_call(images: Images) -> None:
    stranger = ("--user=123456:0", "--env=HOME=/")

    assert images.run("kubeflow", "--version", program="fedtier", options=stranger).startswith("fedtier, version ")
    assert images.run("kubeflow", "--help", options=stranger, program="python3").startswith("usage: python3")


def test_every_module_of_the_pipeline_is_there_and_finds_what_it_imports(images: Images) -> None:
    folder = CHECKOUT / "infra" / "kubeflow"
    here = [
        ".".join(("infra", "kubeflow", *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        for path in folder.rglob("*.py")
    ]

    found = images.run("kubeflow", "-c", _EVERY_MODULE, program="python3")

    # Who submits has a checkout.
    assert found == str(sorted(set(here) - {"infra.kubeflow", "infra.kubeflow.submit"}))


def test_a_picture_is_drawn_without_a_word_on_a_read_only_root(images: Images) -> None:
    draw = (
        "import io, matplotlib.figure; figure = matplotlib.figure.Figure(); figure.subplots().set_title('x');"
        "drawn = io.BytesIO(); figure.savefig(drawn, format='png'); print(drawn.getvalue()[1:4])"
    )

    # What a program warns of would be among it.
    assert images.run("kubeflow", "-c", f'python3 -c "{draw}" 2>&1', program="sh") == "b'PNG'"


def _executor(component: str, inputs: dict[str, Any], *, artifacts: list[str]) -> tuple[list[str], list[str]]:
    """Return the command of a component, and its arguments with what Kubeflow's launcher puts in."""
    pipeline, *_ = yaml.safe_load_all((CHECKOUT / "infra" / "kubeflow" / "pipeline.yaml").read_text())
    container = pipeline["deploymentSpec"]["executors"][f"exec-{component}"]["container"]
    given = {
        "inputs": {"parameterValues": inputs},
        "outputs": {
            "parameters": {"Output": {"outputFile": f"{_OUTPUTS}/Output"}},
            "artifacts": {
                name: {
                    "artifacts": [{"name": name, "type": {"schemaTitle": "system.HTML"}, "uri": f"{_OUTPUTS}/{name}"}]
                }
                for name in artifacts
            },
            "outputFile": f"{_OUTPUTS}/executor_output.json",
        },
    }
    return container["command"], [one.replace("{{$}}", json.dumps(given)) for one in container["args"]]
