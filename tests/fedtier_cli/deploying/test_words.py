"""Events and what is said of them, from lists of what Ansible and Terraform print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fedtier_cli.deploying.boards import HostBoard, ResourceBoard
from fedtier_cli.deploying.concealing import concealed
from fedtier_cli.deploying.failures import failures_in_words
from fedtier_cli.deploying.plays import HostDone, Message, Outcome, PlayEvent, TaskOnHost, TaskStarted, play_event
from fedtier_cli.deploying.terraform_events import (
    Diagnostic,
    Planned,
    ResourceStep,
    Said,
    Step,
    changes_of,
    errors_in_words,
    plan_in_words,
    remark,
    terraform_event,
)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("pip: https://me:pa%20ss@packages.example/simple", "pip: https://[hidden]@packages.example/simple"),
        ("-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----\nmore", "[hidden]\nmore"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[hidden]"),
        ("token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjIn0.c2ln is bad", "token [hidden] is bad"),
        ('AWS_SECRET_ACCESS_KEY=abc/def {"secret_key": "xyz"}', '[hidden] {"[hidden]"}'),
        (
            "the password is missing; see https://example.org/@me",
            "the password is missing; see https://example.org/@me",
        ),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, without: str) -> None:
    assert concealed(text) == without


def failed(host: str, outcome: Outcome = Outcome.FAILED, task: str = "Install", **result: Any) -> HostDone:
    return HostDone(task, host, outcome, result)


def test_hosts_that_fail_alike_are_named_together() -> None:
    failures = [failed(f"client-{number}", msg="no space") for number in reversed(range(8))]
    assert failures_in_words(failures) == [
        "the task 'Install' failed on client-0, client-1, client-2, client-3, client-4, client-5 and 2 more: no space"
    ]


def test_of_many_failures_the_first_are_shown() -> None:
    lines = failures_in_words([failed("one", msg=f"reason {number}") for number in range(6)])
    assert len(lines) == 5
    assert lines[-1] == "and 2 more"


def test_what_a_command_printed_stands_below_and_cannot_draw_on_the_terminal() -> None:
    printed = "\n".join(f"line {number}" for number in range(20)) + "\n\x1b[31mred\x1b[0m \x1b]0;title\x07"
    first, *below = failures_in_words([failed("one", msg="non-zero return code", stderr=printed, stdout="other")])
    assert first == "the task 'Install' failed on one: non-zero return code"
    assert below == [*(f"  line {number}" for number in range(15, 20)), r"  red \x1b]0;title\x07"]


def test_a_failure_without_a_reason_says_so() -> None:
    assert failures_in_words([failed("one")]) == ["the task 'Install' failed on one: no reason was given"]


def test_events_that_say_nothing_are_none() -> None:
    assert play_event({"event": "playbook_on_start", "event_data": {}}) is None
    assert play_event({"event": "verbose", "stdout": "\x1b[0m"}) is None
    assert play_event({}) is None
    assert play_event({"event": "warning", "stdout": "\x1b[35mold\x1b[0m"}) == Message("old")


def test_a_roles_task_bears_the_roles_name() -> None:
    data = {"play": "P", "task": "Install", "role": "client"}
    assert play_event({"event": "playbook_on_task_start", "event_data": data}) == TaskStarted("P", "client : Install")


def test_a_board_says_of_each_task_how_it_went_where() -> None:
    board = HostBoard()
    events: list[PlayEvent] = [
        TaskStarted("P", "Install"),
        TaskOnHost("Install", "client-10"),
        HostDone("Install", "client-10", Outcome.CHANGED, {}),
        HostDone("Install", "client-9", Outcome.CHANGED, {}),
        HostDone("Install", "client-8", Outcome.OK, {}),
        TaskStarted("P", "Skip"),
        HostDone("Skip", "client-8", Outcome.SKIPPED, {}),
        TaskStarted("P", "Start"),
        HostDone("Start", "client-8", Outcome.UNREACHABLE, {}),
    ]
    assert [line for event in events for line in board.take(event)] == [
        "Install: changed on client-9, client-10, ok on client-8"
    ]
    assert board.flush() == ["Start: unreachable on client-8"]
    assert board.totals() == "3 hosts: 3 tasks done, 2 changed something, 1 host failed"


def line(**members: Any) -> bytes:
    return json.dumps(members).encode()


def hook(kind: str, **more: Any) -> bytes:
    return line(type=kind, hook={"resource": {"addr": "aws_vpc.this"}, "action": "create"} | more)


def test_lines_of_terraform_are_events() -> None:
    assert terraform_event(hook("apply_progress", elapsed_seconds=20)) == ResourceStep(
        "aws_vpc.this", "create", Step.STARTED, 20
    )
    assert terraform_event(hook("apply_complete", action="read", elapsed_seconds=0)) == Said("")
    assert terraform_event(b"\x1b[31mno JSON\x1b[0m\n") == Said("no JSON")
    assert terraform_event(
        line(type="planned_change", change={"resource": {"addr": "a"}, "action": "read"})
    ) == Planned("a", "read")


def test_a_plan_counts_what_changes_something() -> None:
    changes = changes_of([Planned("b", "create"), Planned("a", "create"), Planned("c", "noop"), Planned("d", "delete")])
    assert [change.address for change in changes] == ["a", "b", "d"]
    assert plan_in_words(changes) == "2 to create, 1 to delete"
    assert plan_in_words([]) == "nothing to change"


def test_errors_are_named_once_with_their_resource_and_warnings_apart() -> None:
    diagnostic = {
        "severity": "error",
        "summary": "Too many instances",
        "detail": "quota 5\n\nsecret_key=abc",
        "address": "module.master.aws_instance.this",
    }
    event = terraform_event(line(type="diagnostic", diagnostic=diagnostic))
    assert isinstance(event, Diagnostic)
    assert errors_in_words([event, event]) == [
        "master.aws_instance.this: Too many instances",
        "  quota 5",
        "  [hidden]",
    ]
    assert remark(event) is None
    old = terraform_event(line(type="diagnostic", diagnostic={"severity": "warning", "summary": "old", "detail": ""}))
    assert remark(old) == "warning: old"
    assert isinstance(old, Diagnostic)
    assert errors_in_words([old]) == []


def test_a_board_of_resources_counts_what_is_over() -> None:
    board = ResourceBoard()
    for each in (Planned("a", "create"), Planned("b", "create")):
        board.take(each)
    board.take(ResourceStep("a", "create", Step.STARTED, 0))
    assert (board.done, board.planned, list(board.running)) == (0, 2, ["a"])
    board.take(ResourceStep("a", "create", Step.FAILED, 3))
    assert (board.done, list(board.running)) == (1, [])
