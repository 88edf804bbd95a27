"""How a Job goes: which index gets a pod, and what comes of a pod that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.infra.kubernetes.cluster.objects import FailureRule, Job

DISRUPTION: str = "DisruptionTarget"


class JobProgress:
    """The state of a Job, told what becomes of its pods.

    The completions of a Job that is not Indexed are counted by an index, too, which its pods do not hear of.

    Parameters
    ----------
    spec : Job.Spec
    """

    def __init__(self, spec: Job.Spec) -> None:
        self._spec = spec
        self._failures: Counter[int] = Counter()
        self._is_stopped = False
        self.running: set[int] = set()
        self.succeeded: set[int] = set()
        self.failed: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every index has succeeded."""
        return len(self.succeeded) == self._spec.completions

    @property
    def has_failed(self) -> bool:
        """Whether it will not get complete any more."""
        allowed = self._spec.max_failed_indexes
        done = len(self.succeeded) + len(self.failed) == self._spec.completions
        too_many = allowed is not None and len(self.failed) > allowed
        return self._is_stopped or too_many or (done and bool(self.failed))

    def start(self) -> list[int]:
        """Return the indexes that get a pod now."""
        if self.has_failed:
            return []
        over = self.succeeded | self.failed | self.running
        waiting = [index for index in range(self._spec.completions) if index not in over]
        chosen = waiting[: self._spec.parallelism - len(self.running)]
        self.running |= set(chosen)
        return chosen

    def pod_succeeded(self, index: int) -> None:
        """Take note that a pod ended well."""
        self.running.discard(index)
        self.succeeded.add(index)

    def pod_failed(self, index: int, statuses: Mapping[str, int], conditions: frozenset[str] = frozenset()) -> None:
        """Take note that a pod failed.

        Parameters
        ----------
        index : int
        statuses : Mapping of str to int
            What its containers ended with.
        conditions : frozenset of str
            Of the pod, such as `DISRUPTION`.
        """
        self.running.discard(index)
        rules = self._spec.pod_failure_policy.rules
        action = next((rule.action for rule in rules if _is_about(rule, statuses, conditions)), "Count")
        if action == "FailJob":
            self._is_stopped = True
        elif action == "FailIndex":
            self.failed.add(index)
        elif action == "Count":
            self._failures[index] += 1
            per_index = self._spec.backoff_limit_per_index
            if per_index is None:
                self._is_stopped = self._failures.total() > self._spec.backoff_limit
            elif self._failures[index] > per_index:
                self.failed.add(index)


def _is_about(rule: FailureRule, statuses: Mapping[str, int], conditions: frozenset[str]) -> bool:
    if any(condition.type in conditions for condition in rule.on_pod_conditions):
        return True
    wanted = rule.on_exit_codes
    if wanted is None:
        return False
    return any(
        status != 0 and (status in wanted.values) == (wanted.operator == "In")
        for name, status in statuses.items()
        if wanted.container_name in {None, name}
    )
