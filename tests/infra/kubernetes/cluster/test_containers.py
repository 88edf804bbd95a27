"""Podman is told what the manifests say of rights, limits and mounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infra.kubernetes.cluster.containers import Surroundings, container_words, pod_words
from tests.infra.kubernetes.cluster.objects import Job
from tests.infra.kubernetes.cluster.pods import Pod, job_pod
from tests.infra.kubernetes.cluster.samples import job, objects

_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _pod(container: dict[str, Any], **spec: Any) -> Pod:
    found = objects(job(containers=[{"name": "main", "image": "image", **container}], **spec))
    return job_pod(found.all(Job)[0], 0, "abc")


def _words(folder: Path, container: dict[str, Any], variables: dict[str, str] | None = None, **spec: Any) -> list[str]:
    (folder / "tokens").mkdir()
    (folder / "tokens" / "job-0.token").touch()
    surroundings = Surroundings(
        {"tokens": folder / "tokens", "state": folder}, frozenset({"tokens"}), Path("/h/hosts"), Path("/h/resolv.conf")
    )
    pod = _pod(container, **spec)
    return container_words(pod, pod.spec.containers[0], variables or {}, surroundings)


def _after(words: list[str], flag: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == flag]


def test_a_restricted_container_has_no_rights(tmp_path: Path) -> None:
    security = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10002, "fsGroup": 10003}
    words = _words(
        tmp_path,
        {"securityContext": _RESTRICTED},
        securityContext={**security, "seccompProfile": {"type": "RuntimeDefault"}},
    )

    assert {"--read-only", "--read-only-tmpfs=false"} < set(words)
    assert _after(words, "--user") == ["10001:10002"]
    assert _after(words, "--group-add") == ["10003"]
    assert _after(words, "--cap-drop") == ["ALL"]
    assert _after(words, "--security-opt") == ["no-new-privileges"]


def test_a_container_that_asks_for_nothing_has_what_kubernetes_gives(tmp_path: Path) -> None:
    words = _words(tmp_path, {})

    assert _after(words, "--security-opt") == ["seccomp=unconfined"]
    assert not {"--read-only", "--user", "--cap-drop", "--memory"} & set(words)


def test_who_is_not_to_be_root_names_a_user(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set runAsUser"):
        _words(tmp_path, {}, securityContext={"runAsNonRoot": True})


def test_limits_are_in_force_and_swap_adds_nothing(tmp_path: Path) -> None:
    words = _words(tmp_path, {"resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"cpu": "1"}}})

    assert _after(words, "--memory") == _after(words, "--memory-swap") == [str(64 << 20)]
    assert _after(words, "--cpus") == ["0.5"]


def test_commands_and_arguments_are_expanded(tmp_path: Path) -> None:
    words = _words(tmp_path, {"command": ["run", "$(A)"], "args": ["$(B)", "$$(A)"]}, {"A": "1"})

    assert _after(words, "--entrypoint") == ["run"]
    assert words[words.index("image") :] == ["image", "1", "$(B)", "$(A)"]


def test_a_secret_is_mounted_read_only_and_by_its_own_name(tmp_path: Path) -> None:
    mounts = [
        {"name": "tokens", "mountPath": "/token", "subPathExpr": "job-$(INDEX).token"},
        {"name": "state", "mountPath": "/state"},
        {"name": "state", "mountPath": "/seen", "readOnly": True},
    ]

    words = _words(tmp_path, {"volumeMounts": mounts}, {"INDEX": "0"})

    assert _after(words, "--volume")[:3] == [
        f"{tmp_path}/tokens/job-0.token:/token:ro",
        f"{tmp_path}:/state:rw",
        f"{tmp_path}:/seen:ro",
    ]


@pytest.mark.parametrize(
    "mount",
    [
        {"name": "tokens", "mountPath": "/token", "subPathExpr": "job-$(NOT_THERE).token"},
        {"name": "tokens", "mountPath": "/token", "subPath": "job-7.token"},
        {"name": "tokens", "mountPath": "/token", "subPath": "../state"},
        {"name": "another", "mountPath": "/token"},
    ],
)
def test_a_mount_of_what_is_not_there_is_an_error(tmp_path: Path, mount: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="/token"):
        _words(tmp_path, {"volumeMounts": [mount]}, {})


def test_a_pod_of_a_job_keeps_its_host_name_from_try_to_try() -> None:
    words = pod_words(_pod({}))

    assert _after(words, "--name") == ["job-0-abc"]
    assert _after(words, "--hostname") == ["job-0"]
    assert _after(words, "--network") == ["none"]
