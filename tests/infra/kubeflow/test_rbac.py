"""The runner may do what a run does in the cluster, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fedtier.problems import StartupError
from infra.kubeflow.steps.objects import MASTER, S3, WORKER
from infra.kubeflow.steps.readiness import Readiness
from infra.kubeflow.steps.removal import remove
from tests.infra.kubeflow.runs import RUN, all_objects, settings
from tests.infra.kubeflow.scripted import RBAC, RUNNING, Script, asked_of
from tests.infra.kubernetes.schemas import newest_minors, validated
from tests.infra.programs import CHECKOUT

_STEPS: Final = CHECKOUT / "infra" / "kubeflow" / "steps"


def documents() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all(RBAC.read_text())}


def allowed() -> set[tuple[str, str, str]]:
    return {
        (verb, group, resource)
        for rule in documents()["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_role_allows_exactly_the_calls_of_a_run(tmp_path: Path) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crashed = {"name": "worker", "ready": False, "restartCount": 2, "state": {"waiting": {}}, "lastState": ended}
    script = Script()
    script.status_of = lambda labels: (
        {"containerStatuses": [crashed]} if labels["app.kubernetes.io/component"] == WORKER else RUNNING
    )
    wanted = settings()
    with asked_of(script, tmp_path) as namespace:
        namespace.owner_of("task")
        for one in all_objects(wanted):
            namespace.create(one)
        with pytest.raises(StartupError, match="its log ends with"):
            Readiness(namespace, wanted, tmp_path, ask=lambda url, authority: "").wait_for(S3, MASTER, WORKER)
        remove(namespace, RUN, pause=lambda _: None)
    assert set(script.asked) == allowed()
    assert not script.left


def test_nothing_else_in_a_task_asks_the_cluster() -> None:
    asking = set()
    for path in _STEPS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            asking |= {path.name for module in modules if module.partition(".")[0] == "kubernetes"}
    assert asking == {"namespace.py"}


def test_no_right_is_given_for_all_there_is() -> None:
    assert "*" not in {word for right in allowed() for word in right}
    assert {"get", "list", "watch"}.isdisjoint(verb for verb, _, resource in allowed() if resource == "secrets")


def test_the_role_is_bound_to_the_accounts_that_run_pipelines() -> None:
    role, binding = documents()["Role"], documents()["RoleBinding"]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    subjects = {(one["kind"], one["name"], one["namespace"]) for one in binding["subjects"]}
    assert subjects == {
        ("ServiceAccount", "pipeline-runner", "kubeflow"),
        ("ServiceAccount", "default-editor", "kubeflow"),
    }


def test_one_name_is_all_that_differs_in_another_namespace() -> None:
    namespaces = [line.strip() for line in RBAC.read_text().splitlines() if "namespace:" in line and "#" not in line]
    assert namespaces == ["namespace: kubeflow"] * 4
    assert "s/namespace: kubeflow/namespace: $NAMESPACE/" in RBAC.read_text()


def test_kubernetes_knows_every_field_of_it(tmp_path: Path) -> None:
    for minor in newest_minors():
        assert validated(RBAC.read_text(), minor, tmp_path) == (2, "")
