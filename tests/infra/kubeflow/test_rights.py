"""Rights and requests are read as the real API reads them."""

from __future__ import annotations

import pytest

from tests.infra.kubeflow.addressing import Request, read
from tests.infra.kubeflow.rights import Rights

_RIGHTS = Rights.of(
    [
        {
            "kind": "Role",
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["mine"]},
            ],
        },
        {"kind": "RoleBinding"},
    ]
)
_POD = "/api/v1/namespaces/team/pods/web"


@pytest.mark.parametrize(
    ("what", "is_allowed"),
    [
        (("list", "", "pods"), True),
        (("delete", "", "pods"), False),
        (("get", "", "pods/log"), False),
        (("list", "apps", "pods"), True),
        (("create", "apps", "deployments"), True),
        (("create", "batch", "jobs"), False),
        (("get", "", "secrets", "mine"), True),
        (("get", "", "secrets", "yours"), False),
        (("list", "", "secrets"), False),
    ],
)
def test_a_role_allows_what_one_of_its_rules_does(what: tuple[str, str, str], is_allowed: bool) -> None:
    assert _RIGHTS.allow(*what) is is_allowed


@pytest.mark.parametrize(
    ("method", "target", "verb", "group", "what", "name"),
    [
        ("GET", _POD, "get", "", "pods", "web"),
        ("GET", f"{_POD}/log?container=main", "get", "", "pods/log", "web"),
        ("GET", "/apis/apps/v1/namespaces/team/deployments", "list", "apps", "deployments", ""),
        ("POST", "/apis/batch/v1/namespaces/team/jobs", "create", "batch", "jobs", ""),
        ("DELETE", "/api/v1/namespaces/team/secrets/one", "delete", "", "secrets", "one"),
        ("DELETE", "/api/v1/namespaces/team/secrets", "deletecollection", "", "secrets", ""),
    ],
)
def test_a_request_is_known_by_method_and_path(
    method: str, target: str, verb: str, group: str, what: str, name: str
) -> None:
    found = read(method, target)

    assert found is not None
    assert (found.verb, found.group, found.what, found.name) == (verb, group, what, name)
    assert found.namespace == "team"


@pytest.mark.parametrize(("method", "target"), [("GET", "/version"), ("POST", _POD), ("GET", "/api/v1/nodes")])
def test_whatever_else_is_asked_for_is_nothing(method: str, target: str) -> None:
    assert read(method, target) is None


@pytest.mark.parametrize("query", ["watch=true", "fieldSelector=metadata.name%3Dweb"])
def test_what_comes_to_nothing_here_is_an_error(query: str) -> None:
    with pytest.raises(ValueError, match="this API"):
        read("GET", f"/api/v1/namespaces/team/pods?{query}")


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [("", True), ("app=web", True), ("app==web,tier=one", True), ("app=web,tier=two", False), ("app!=web", False)],
)
def test_objects_are_chosen_by_labels(selector: str, chosen: bool) -> None:
    request = Request("list", "", "team", "pods", "", "", {"labelSelector": selector})

    assert request.chooses({"app": "web", "tier": "one"}) is chosen


def test_a_selector_that_is_not_known_is_an_error() -> None:
    request = Request("list", "", "team", "pods", "", "", {"labelSelector": "app in (web)"})

    with pytest.raises(ValueError, match="knows = and !="):
        request.chooses({"app": "web"})
