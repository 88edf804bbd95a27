"""How a run stands, out of what Kubeflow Pipelines says of it: what has changed, and what went wrong. Pure.

What is said is a flat list of nodes. Among them are the tasks that a person wrote down, by their key in the pipeline,
and much that Kubeflow adds: a driver beside each task, an executor within, loops. Only the former are shown, by their
title.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SUCCEEDED: Final = "SUCCEEDED"
ENDED: Final = frozenset({SUCCEEDED, "FAILED", "SKIPPED", "CANCELED"})
"""States of a run, and of a task, that no other follows."""
_FAILED: Final = "FAILED"
_DRIVER: Final = "-driver"
_UNKNOWN: Final = frozenset({None, "", "RUNTIME_STATE_UNSPECIFIED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a run.

    Parameters
    ----------
    identity : str
        What tells it from others of the same key.
    key : str
        Of the task in the pipeline, or what Kubeflow calls what it added.
    state : str or None
    started : float or None
        Seconds since the epoch; None where it has not.
    seconds : float or None
        How long it ran; None until it has ended.
    error : str
        Empty where Kubeflow does not say, which is usual.
    pod : str
        Empty likewise.
    """

    identity: str
    key: str
    state: str | None
    started: float | None = None
    seconds: float | None = None
    error: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands.

    Parameters
    ----------
    state : str or None
    nodes : Sequence of Node
    error : str
        Empty where Kubeflow does not say.
    """

    state: str | None
    nodes: Sequence[Node] = ()
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Change:
    """A task that is in another state than before."""

    task: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed; `error` and `pod` are empty where Kubeflow does not say."""

    task: str
    error: str
    pod: str


@dataclass(frozen=True, slots=True)
class Title:
    """How a task is called, and whether it is one of several, for a loop repeats it."""

    text: str
    repeated: bool


def titles_of(pipeline: Mapping[str, Any]) -> dict[str, Title]:
    """Return how the tasks of a pipeline are called, by key; tasks that are pipelines themselves are left out.

    Parameters
    ----------
    pipeline : Mapping
        The pipeline's specification, the first document of a compiled one.
    """
    return dict(_titles(pipeline["root"], pipeline.get("components", {}), repeated=False))


def _titles(
    component: Mapping[str, Any], components: Mapping[str, Any], *, repeated: bool
) -> Iterator[tuple[str, Title]]:
    for key, task in component["dag"]["tasks"].items():
        inner = components[task["componentRef"]["name"]]
        if "dag" in inner:
            loops = "parameterIterator" in task or "artifactIterator" in task
            yield from _titles(inner, components, repeated=repeated or loops)
        else:
            yield key, Title(task.get("taskInfo", {}).get("name", key), repeated)


class Progress:
    """What of a run was seen already.

    Parameters
    ----------
    titles : Mapping of str to Title
        See `titles_of`.
    """

    def __init__(self, titles: Mapping[str, Title]) -> None:
        self._titles = titles
        self._names: dict[str, str] = {}
        self._states: dict[str, str | None] = {}

    def see(self, run: Run) -> list[Change]:
        """Return what has changed, in the order in which tasks started."""
        changes = []
        for node in self._tasks(run):
            before, self._states[node.identity] = self._states.get(node.identity), node.state
            if node.state is not None and node.state not in _UNKNOWN and node.state != before:
                changes.append(Change(self._named(node), node.state, node.seconds))
        return changes

    def failures(self, run: Run) -> list[Failure]:
        """Return the tasks that failed; where Kubeflow could start none, that which it adds."""
        failed = [node for node in self._tasks(run) if node.state == _FAILED]
        if not failed:
            failed = [
                node for node in run.nodes if node.state == _FAILED and node.key.removesuffix(_DRIVER) in self._titles
            ]
        return [Failure(self._named(node), node.error, node.pod) for node in failed]

    def _tasks(self, run: Run) -> list[Node]:
        tasks = [node for node in run.nodes if node.key in self._titles]
        return sorted(tasks, key=lambda node: (float("inf") if node.started is None else node.started, node.identity))

    def _named(self, node: Node) -> str:
        """Return a task's title; those that a loop repeats are numbered as they are seen."""
        if node.key.endswith(_DRIVER) and node.key not in self._titles:
            return f"the start of {self._titles[node.key.removesuffix(_DRIVER)].text}"
        if node.identity not in self._names:
            title = self._titles[node.key]
            number = 1 + sum(name.startswith(f"{title.text} #") for name in self._names.values())
            self._names[node.identity] = f"{title.text} #{number}" if title.repeated else title.text
        return self._names[node.identity]
