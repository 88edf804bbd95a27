"""What of a run is told, and by which names."""

from __future__ import annotations

from infra.kubeflow.progress import Change, Failure, Node, Progress, Run, Title, titles_of

_TITLES = {
    "prepare-data": Title("Prepare data", repeated=False),
    "train-client": Title("Train a client", repeated=True),
}


def test_tasks_are_called_by_their_titles_and_those_of_a_loop_at_any_depth_are_numbered() -> None:
    pipeline = {
        "root": {
            "dag": {"tasks": {"handler": _task("comp-handler"), "tear-down": _task("comp-tear-down", "Tear down")}}
        },
        "components": {
            "comp-handler": {"dag": {"tasks": {"training": _task("comp-training"), "plain": _task("comp-plain")}}},
            "comp-training": {"dag": {"tasks": {"loop": {**_task("comp-loop"), "parameterIterator": {}}}}},
            "comp-loop": {"dag": {"tasks": {"inner": _task("comp-inner")}}},
            "comp-inner": {"dag": {"tasks": {"train-client": _task("comp-train", "Train a client")}}},
            "comp-train": {"executorLabel": "exec-train"},
            "comp-plain": {"executorLabel": "exec-plain"},
            "comp-tear-down": {"executorLabel": "exec-tear-down"},
        },
    }

    assert titles_of(pipeline) == {
        "train-client": Title("Train a client", repeated=True),
        "plain": Title("plain", repeated=False),
        "tear-down": Title("Tear down", repeated=False),
    }


def test_each_change_of_a_task_is_told_once_and_what_kubeflow_adds_never() -> None:
    progress = Progress(_TITLES)
    first = Run(
        "RUNNING",
        [
            Node(identity="0", key="root", state="RUNNING", started=0.0),
            Node(identity="1", key="prepare-data-driver", state="SUCCEEDED", started=0.0, seconds=2.0),
            Node(identity="2", key="executor", state="RUNNING", started=2.0),
            Node(identity="3", key="prepare-data", state="RUNNING", started=2.0),
        ],
    )
    later = Run(
        "RUNNING",
        [*first.nodes[:3], Node(identity="3", key="prepare-data", state="SUCCEEDED", started=2.0, seconds=5.0)],
    )

    told = [progress.see(run) for run in (first, first, later, later)]

    assert told == [
        [Change("Prepare data", "RUNNING", None)],
        [],
        [Change("Prepare data", "SUCCEEDED", 5.0)],
        [],
    ]


def test_tasks_of_a_loop_keep_their_numbers() -> None:
    progress = Progress(_TITLES)
    one = Node(identity="z", key="train-client", state="RUNNING", started=1.0)
    other = Node(identity="a", key="train-client", state="RUNNING", started=2.0)

    before = progress.see(Run("RUNNING", [one, other]))
    after = progress.see(
        Run("RUNNING", [Node(identity="z", key="train-client", state="SUCCEEDED", started=1.0, seconds=9.0)])
    )

    assert [change.task for change in before] == ["Train a client #1", "Train a client #2"]
    assert after == [Change("Train a client #1", "SUCCEEDED", 9.0)]


def test_a_task_that_has_no_state_yet_is_not_told_of() -> None:
    states = [None, "", "RUNTIME_STATE_UNSPECIFIED"]
    nodes = [Node(identity=str(state), key="prepare-data", state=state) for state in states]

    assert Progress(_TITLES).see(Run("PENDING", nodes)) == []


def test_failures_are_those_of_tasks_and_where_none_began_those_of_what_starts_it() -> None:
    driver = Node(identity="1", key="train-client-driver", state="FAILED", error="no such parameter", pod="driver-0")
    others = [
        Node(identity="2", key="root", state="FAILED"),
        Node(identity="3", key="training-driver", state="FAILED"),
        Node(identity="4", key="prepare-data", state="SUCCEEDED"),
    ]
    failed = Node(identity="5", key="train-client", state="FAILED")

    assert Progress(_TITLES).failures(Run("FAILED", [driver, *others])) == [
        Failure("the start of Train a client", "no such parameter", "driver-0")
    ]
    assert Progress(_TITLES).failures(Run("FAILED", [driver, *others, failed])) == [
        Failure("Train a client #1", "", "")
    ]
    assert Progress(_TITLES).failures(Run("SUCCEEDED", others[2:])) == []


def _task(component: str, title: str | None = None) -> dict[str, object]:
    return {"componentRef": {"name": component}, **({} if title is None else {"taskInfo": {"name": title}})}
