"""Terraform behind its adapter, on things that need no cloud."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fedtier.problems import StartupError
from fedtier_cli.deploying.terraform import Plan, Terraform, Timeouts
from fedtier_cli.deploying.terraform_events import Planned, ResourceStep, Step, Stopping, TerraformEvent
from fedtier_cli.interruption import Interrupted, signals_raised
from tests.fedtier_cli.deploying.tiny_terraform import (
    FIRST,
    INVENTORY,
    SECOND,
    addresses,
    held_in,
    needs_terraform,
    tiny_terraform,
    when_it_is_being_made,
)

pytestmark = [pytest.mark.infra, needs_terraform]


def planned(terraform: Terraform, folder: Path, *, destroy: bool = False) -> Plan:
    terraform.init()
    path = folder / "plan"
    path.unlink(missing_ok=True)
    return terraform.plan(path, destroy=destroy)


def test_a_plan_is_applied_as_it_was_shown_and_nothing_is_left_to_do_or_in_the_end_there(tmp_path: Path) -> None:
    seen: list[TerraformEvent] = []
    terraform = tiny_terraform(tmp_path, see=seen.append)
    plan = planned(terraform, tmp_path)
    assert plan.changes == (Planned(SECOND, "create"), Planned(FIRST, "create"))
    seen.clear()

    terraform.apply(plan)

    steps = [(event.address, event.action, event.step) for event in seen if isinstance(event, ResourceStep)]
    assert steps == [(address, "create", step) for address in (FIRST, SECOND) for step in (Step.STARTED, Step.DONE)]
    assert terraform.outputs()["inventory"] == INVENTORY
    assert planned(terraform, tmp_path).changes == ()

    gone = planned(terraform, tmp_path, destroy=True)
    assert {change.action for change in gone.changes} == {"delete"}
    terraform.apply(gone)
    assert addresses(tmp_path) == []


def test_an_apply_that_fails_half_way_names_the_thing_and_goes_on_from_there(tmp_path: Path) -> None:
    failing = tiny_terraform(tmp_path, "script=echo no such quota >&2; exit 3", "password=hush-hush")
    plan = planned(failing, tmp_path)
    with pytest.raises(StartupError) as raised:
        failing.apply(plan)
    first, second, third, last = str(raised.value).splitlines()
    assert first == "terraform apply failed"
    assert second == 'second.terraform_data.this["b"]: local-exec provisioner error'
    assert "exit status 3. Output: no such quota" in third
    assert last.startswith("mend that and call the same again: what is made already is in the state and stays")
    assert "hush-hush" not in str(raised.value)

    again = planned(tiny_terraform(tmp_path, "password=hush-hush"), tmp_path)
    assert {change.address for change in again.changes} == {SECOND}


@pytest.fixture
def held(tmp_path: Path) -> str:
    return held_in(tmp_path)


def test_ctrl_c_lets_terraform_save_what_it_made_and_is_passed_on(tmp_path: Path, held: str) -> None:
    seen: list[TerraformEvent] = []
    terraform = tiny_terraform(tmp_path, held, see=seen.append)
    plan = planned(terraform, tmp_path)
    ended = when_it_is_being_made(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(Interrupted), signals_raised():
        terraform.apply(plan)

    ended.join(60)
    assert not ended.is_alive()
    assert "root" in addresses(tmp_path)
    assert Stopping() in seen
    assert not (tmp_path / ".terraform.tfstate.lock.info").exists()
    again = planned(tiny_terraform(tmp_path), tmp_path)
    assert {change.address for change in again.changes} == {SECOND}


def test_an_apply_that_takes_too_long_is_told_to_stop(tmp_path: Path, held: str) -> None:
    terraform = tiny_terraform(tmp_path, held, timeouts=Timeouts(apply=3))
    plan = planned(terraform, tmp_path)
    sentence = "terraform apply was not done after 3 s, was told to stop, and has saved its state; call the same again"
    with pytest.raises(StartupError, match=sentence):
        terraform.apply(plan)
    assert not (tmp_path / ".terraform.tfstate.lock.info").exists()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (("nothing=1",), "Value for undeclared variable"),
        (("script",), "The given -var option"),
    ],
)
def test_what_terraform_does_not_take_is_quoted(tmp_path: Path, variables: tuple[str, ...], reason: str) -> None:
    terraform = tiny_terraform(tmp_path, *variables)
    terraform.init()
    with pytest.raises(StartupError, match=r"(?s)terraform plan failed.*" + reason):
        terraform.plan(tmp_path / "plan")


def test_files_that_are_wrong_are_named(tmp_path: Path) -> None:
    terraform = tiny_terraform(tmp_path)
    (tmp_path / "second" / "main.tf").write_text('resource "nothing" {}')
    with pytest.raises(StartupError, match=r"(?s)terraform init failed.*mend that and call the same again"):
        terraform.init()


def test_without_terraform_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match=r"Terraform is not on the PATH; install version 1\.11 or newer"):
        tiny_terraform(tmp_path).init()
