"""The cluster is asked by its official client, again where that may help, and what it refuses is told in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.client import ApiClient, Configuration

from fedtier.problems import StartupError
from infra.kubeflow.steps.namespace import AlreadyThere, Namespace, Unavailable
from infra.kubeflow.steps.objects import services
from tests.authorities import HOST, Authority
from tests.infra.kubeflow.api_server import Refused
from tests.infra.kubeflow.rights import Rights
from tests.infra.kubeflow.runs import RUN, secret_objects, settings
from tests.infra.kubeflow.scripted import NAMESPACE, Script, asked_of
from tests.infra.kubeflow.secure_servers import server
from tests.infra.programs import CHECKOUT

_AWAY = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", "etcdserver: request timed out")
_NAME = "from infra.kubeflow.steps.namespace import connect; print(connect().name)"


@pytest.fixture
def script() -> Script:
    return Script()


def test_an_object_is_made_as_it_is_given(script: Script, tmp_path: Path) -> None:
    (service, *_) = services(settings())
    with asked_of(script, tmp_path) as namespace:
        namespace.create(service)
        (found,) = namespace.listed("Service", RUN)
        assert namespace.listed("Service", "fedtier-other") == []
    assert found == service


def test_an_api_that_is_away_for_a_moment_is_asked_again(script: Script, tmp_path: Path) -> None:
    script.refusals += [_AWAY, Refused(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "slow down")]
    with asked_of(script, tmp_path) as namespace:
        assert namespace.listed("Service", RUN) == []
    assert script.asked == [("list", "", "services")] * 3


def test_one_that_stays_away_is_told_of(script: Script, tmp_path: Path) -> None:
    script.refusals += [_AWAY] * 3
    with asked_of(script, tmp_path) as namespace, pytest.raises(Unavailable) as told:
        namespace.listed("Job", RUN)
    assert str(told.value) == "GET Job: the API of Kubernetes answers 503: etcdserver: request timed out"


def test_one_that_nobody_serves_is_told_of() -> None:
    configuration = Configuration()
    configuration.host, configuration.retries = "http://127.0.0.1:1", False
    with ApiClient(configuration) as client, pytest.raises(Unavailable, match="cannot be reached"):
        Namespace(client, NAMESPACE, tries=1).listed("Job", RUN)


def test_an_object_whose_answer_was_lost_is_made_once(script: Script, tmp_path: Path) -> None:
    (service, *_) = services(settings())
    script.lost_answers = 1
    with asked_of(script, tmp_path) as namespace:
        namespace.create(service)
        assert namespace.listed("Service", RUN) == [service]


def test_an_object_of_somebody_else_is_not_taken_for_ones_own(script: Script, tmp_path: Path) -> None:
    (service, *_) = services(settings())
    with asked_of(script, tmp_path) as namespace:
        namespace.create(service)
        with pytest.raises(AlreadyThere, match=f'answers 409: services "{RUN}-s3" already exists'):
            namespace.create(service)


def test_a_quota_that_somebody_else_writes_to_is_no_refusal(script: Script, tmp_path: Path) -> None:
    script.refusals.append(Refused(HTTPStatus.CONFLICT, "Conflict", "Operation cannot be fulfilled on resourcequotas"))
    with asked_of(script, tmp_path) as namespace:
        namespace.create(services(settings())[0])


def test_a_right_that_is_missing_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with asked_of(Script(rights=Rights(())), tmp_path) as namespace, pytest.raises(StartupError) as told:
        namespace.create(services(settings())[0])
    assert str(told.value) == (
        f"POST Service {RUN}-s3: the API of Kubernetes answers 403: services is forbidden: "
        'User "runner" cannot create resource "services"; '
        "infra/kubeflow/rbac.yaml has the rights that the runner's service account needs"
    )


def test_a_quota_that_is_used_up_is_told_as_it_is(script: Script, tmp_path: Path) -> None:
    script.refusals.append(Refused(HTTPStatus.FORBIDDEN, "Forbidden", "exceeded quota: team-a, used: services=5"))
    with asked_of(script, tmp_path) as namespace, pytest.raises(StartupError) as told:
        namespace.create(services(settings())[0])
    assert str(told.value).endswith("answers 403: exceeded quota: team-a, used: services=5")


def test_a_secret_that_is_refused_is_not_quoted(script: Script, tmp_path: Path) -> None:
    secret = secret_objects(settings())[0]
    held = next(iter(secret["data"].values()))
    script.refusals.append(Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", f"data: Invalid value: {held}"))
    with asked_of(script, tmp_path) as namespace, pytest.raises(StartupError) as told:
        namespace.create(secret)
    assert str(told.value) == f"POST Secret {secret['metadata']['name']}: the API of Kubernetes answers 422: Invalid"
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_what_is_deleted_already_is_no_failure(script: Script, tmp_path: Path) -> None:
    (service, *_) = services(settings())
    with asked_of(script, tmp_path) as namespace:
        namespace.create(service)
        assert namespace.delete("Service", service["metadata"]["name"])
        assert not namespace.delete("Service", service["metadata"]["name"])


def test_a_log_is_given_as_it_was_printed(script: Script, tmp_path: Path) -> None:
    script.held["pods", "s3-0"] = {"metadata": {"name": "s3-0"}}
    script.logs["s3-0"] = '{"event": "listening", "port": 8333}\n'
    with asked_of(script, tmp_path) as namespace:
        assert namespace.log("s3-0", "s3", previous=True) == '{"event": "listening", "port": 8333}'


def test_a_log_that_cannot_be_had_does_not_hide_what_it_was_wanted_for(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        assert namespace.log("s3-0", "s3", previous=True) == "(its log cannot be read: Not Found)"


@pytest.mark.parametrize(
    ("owners", "owner"),
    [
        ([{"kind": "Workflow", "name": "federation-x", "controller": True}], "Workflow"),
        (
            [{"kind": "Other", "name": "o"}, {"kind": "Workflow", "name": "federation-x", "controller": True}],
            "Workflow",
        ),
        ([], None),
        (None, None),
    ],
)
def test_a_pod_tells_what_it_is_part_of(
    owners: list[dict[str, object]] | None, owner: str | None, script: Script, tmp_path: Path
) -> None:
    metadata = {"name": "task"} if owners is None else {"name": "task", "ownerReferences": owners}
    script.held["pods", "task"] = {"metadata": metadata}
    with asked_of(script, tmp_path) as namespace:
        found = namespace.owner_of("task")
        assert namespace.owner_of("no-such-pod") is None
    assert (found and found["kind"]) == owner


def connected(tmp_path: Path, config: Mapping[str, object] | None) -> subprocess.CompletedProcess[str]:
    """Connect in a process that finds a kubeconfig, or nothing."""
    path = tmp_path / "config"
    if config is not None:
        path.write_text(yaml.safe_dump(config))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    surroundings = kept | {"KUBECONFIG": str(path), "PYTHONPATH": str(CHECKOUT)}
    words = [sys.executable, "-c", _NAME]
    return subprocess.run(words, env=surroundings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("context", "name"), [({"namespace": NAMESPACE}, NAMESPACE), ({}, "default")])
def test_on_a_machine_the_namespace_is_that_of_the_context(context: dict[str, str], name: str, tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "us", "user": {"token": "t"}}],
        "contexts": [{"name": "this", "context": {"cluster": "here", "user": "us", **context}}],
        "current-context": "this",
    }
    assert connected(tmp_path, config).stdout == f"{name}\n"


_IN_POD = """
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""
_LISTED = "from infra.kubeflow.steps.namespace import connect; one = connect(); print(one.name, one.listed('Job', 'r'))"


@pytest.mark.skipif(os.geteuid() != 0, reason="a service account's files are mounted, which takes root")
def test_in_a_pod_it_is_that_of_the_service_account_which_is_who_asks(tmp_path: Path) -> None:
    authority, account, asked = Authority(tmp_path / "authority"), tmp_path / "account", list[str | None]()
    account.mkdir()
    (account / "namespace").write_text("team-b")
    (account / "token").write_text("the-token")
    (account / "ca.crt").write_bytes(authority.certificate.read_bytes())
    with server(200, authority.pair(HOST), b'{"items": []}', asked) as url:
        parts = urlsplit(url)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
        surroundings = {
            "KUBERNETES_SERVICE_HOST": str(parts.hostname),
            "KUBERNETES_SERVICE_PORT": str(parts.port),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(CHECKOUT),
        }
        within = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _IN_POD, "sh", str(account)]
        done = subprocess.run(
            [*within, sys.executable, "-c", _LISTED],
            env=kept | surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "team-b []\n"), done.stderr
    assert asked == ["bearer the-token"]


def test_where_there_is_no_cluster_that_is_said(tmp_path: Path) -> None:
    done = connected(tmp_path, None)
    assert done.returncode == 1
    assert "there is no way to a cluster: neither a service account nor a kubeconfig" in done.stderr
