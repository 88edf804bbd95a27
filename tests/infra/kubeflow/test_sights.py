"""Pods and workloads look as the real API shows them, in all that may become of them."""

from __future__ import annotations

import itertools
from typing import Any

from tests.infra.kubeflow.sights import Document, pod_document, workload_status
from tests.infra.kubeflow.tasks import Tasks
from tests.infra.kubernetes.cluster.control import Control
from tests.infra.kubernetes.cluster.samples import deployment, objects, plain_job

_PROBE = {"httpGet": {"path": "/readyz", "port": 8000}}
_PROBED = [{"name": "main", "image": "image", "readinessProbe": _PROBE}]


class _Applied:
    """A workload with one pod, which is made."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = {**document, "metadata": {**document["metadata"], "uid": "uid-1"}}
        self.control = Control(str(number) for number in itertools.count())
        [action] = self.control.apply(objects(document))
        self.name = next(iter(self.control.pods))
        assert action is not None
        self.control.made(self.name)

    @property
    def pod(self) -> Document:
        return pod_document(self.control.pods[self.name], self.document)

    @property
    def container(self) -> Document:
        [status] = self.pod["status"]["containerStatuses"]
        assert isinstance(status, dict)
        return status

    @property
    def status(self) -> Document:
        name = self.document["metadata"]["name"]
        progress = self.control.job(name) if self.document["kind"] == "Job" else None
        return workload_status(self.document, self.control.pods_of(name), progress)


def test_a_pod_is_ready_when_its_containers_are() -> None:
    applied = _Applied(deployment(replicas=1, containers=_PROBED))
    before = applied.container["ready"], applied.status.get("readyReplicas", 0)

    applied.control.probed((applied.name, "main", 1, "readiness"), succeeds=True)

    assert before == (False, 0)
    assert (applied.container["ready"], applied.status["readyReplicas"]) == (True, 1)
    assert {"type": "Ready", "status": "True"} in applied.pod["status"]["conditions"]
    assert "running" in applied.container["state"]


def test_an_image_that_is_not_there_is_waited_for() -> None:
    applied = _Applied(deployment())

    applied.control.not_pulled(applied.name, "main")

    assert applied.container["state"]["waiting"]["reason"] == "ImagePullBackOff"
    assert '"image"' in applied.container["state"]["waiting"]["message"]
    assert applied.pod["status"]["phase"] == "Pending"


def test_a_container_that_ends_again_and_again_is_waited_for_longer() -> None:
    applied = _Applied(deployment())

    for _ in range(3):
        applied.control.ended(applied.name, "main", 2)

    assert applied.container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert applied.container["ready"] is False
    assert applied.container["restartCount"] == 3
    assert applied.container["lastState"]["terminated"]["exitCode"] == 2


def test_a_job_is_complete_with_its_pod() -> None:
    applied = _Applied(plain_job())
    before = applied.status

    applied.control.ended(applied.name, "main", 0)

    assert (before["active"], before["conditions"]) == (1, [])
    assert applied.status["conditions"] == [{"type": "Complete", "status": "True"}]
    assert applied.container["state"]["terminated"]["reason"] == "Completed"


def test_a_pod_says_whose_it_is_and_when_it_is_to_end() -> None:
    applied = _Applied(deployment())
    before = applied.pod["metadata"]

    applied.control.remove({("Deployment", "web")})

    assert [owner["uid"] for owner in before["ownerReferences"]] == ["uid-1"]
    assert "deletionTimestamp" not in before
    assert "deletionTimestamp" in applied.pod["metadata"]


def test_tasks_are_as_they_were_logged_last() -> None:
    tasks = Tasks()

    tasks.read(
        [
            "08:41:18 - INFO - Executing task \x1b[96m'one'\x1b[0m",
            "ERROR:root:Task \x1b[96m'one'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m",
            "a line of a task",
            "08:41:19 - INFO - Executing task \x1b[96m'one'\x1b[0m",
            "08:41:20 - INFO - Task \x1b[96m'one'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m",
            "08:41:20 - INFO - Executing task \x1b[96m'two'\x1b[0m",
        ]
    )

    assert tasks.states() == {"one": "SUCCEEDED", "two": "RUNNING"}
    assert tasks.ends == {"one": ["FAILED", "SUCCEEDED"], "two": []}
