"""docs/kubeflow.md speaks of the pipeline as it is: its parameters, its tasks, the flags of who submits it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Final

import click

from infra.kubeflow.build import Build
from infra.kubeflow.parameters import parameters_of
from infra.kubeflow.pipeline import main as compiler
from infra.kubeflow.progress import titles_of
from infra.kubeflow.steps.objects import INSTANCE, run_name
from infra.kubeflow.steps.pod_states import Patience
from infra.kubeflow.steps.readiness import Readiness
from infra.kubeflow.steps.removal import remove
from infra.kubeflow.steps.server_secrets import secret_names
from infra.kubeflow.submit import read_pipeline, submit
from tests.infra.kubeflow.kfp_api import RUN
from tests.infra.programs import CHECKOUT

_PAGE: Final = (CHECKOUT / "docs" / "kubeflow.md").read_text()
_PIPELINE: Final = read_pipeline(CHECKOUT / "infra" / "kubeflow" / "pipeline.yaml")[0]
_NUMBERS: Final = {"seven": 7, "eight": 8, "nine": 9}


def test_the_page_tells_of_every_parameter_and_of_no_other() -> None:
    table = _PAGE.partition("## Parameters")[2].partition("\n## ")[0]

    told = re.findall(r"`([A-Z][A-Z_]+)`", table)

    assert sorted(told) == sorted(parameters_of(_PIPELINE))


def test_every_flag_on_the_page_is_one() -> None:
    others = {"--target", "--tag", "--exit-when-finished", "--help"}  # of docker, pip, the master

    known = {flag for command in (submit, compiler) for flag in _flags(command)} | others

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", _PAGE)) - known == set()


def test_what_it_prints_on_the_page_names_the_tasks_and_a_run_as_they_are_called() -> None:
    titles = [one.text for one in titles_of(_PIPELINE).values()]
    [printed] = re.findall(r"^   run .*?^   the run succeeded$", _PAGE, re.MULTILINE | re.DOTALL)

    assert {re.sub(r"( #\d)? (runs|is done).*", "", line.strip()) for line in printed.splitlines()} >= set(titles)
    assert RUN in printed
    for title in titles:
        assert re.search(rf"^\| {title}\b.* \|", _PAGE, re.MULTILINE), title


def test_what_is_to_be_deleted_by_hand_is_found_by_the_label_on_the_page() -> None:
    prefix, _, digits = run_name(RUN).rpartition("-")

    assert f"{INSTANCE}={prefix}-<the first {len(digits)} hex digits of the run's id>" in _PAGE
    assert digits == RUN.replace("-", "")[: len(digits)]


def test_a_quota_has_room_for_as_many_secrets_as_there_are() -> None:
    [number] = re.findall(r"(\w+) Secrets and a ConfigMap a run", _PAGE)

    assert _NUMBERS[number] == len(secret_names(run_name(RUN)))


def test_the_defaults_on_the_page_are_those_of_the_pipeline() -> None:
    usual = {name: about.get("defaultValue") for name, about in parameters_of(_PIPELINE).items()}

    told = re.findall(r"`(CPU_REQUEST|MEMORY_REQUEST)` (\w+)", _PAGE)

    assert dict(told) == {name: usual[name] for name in ("CPU_REQUEST", "MEMORY_REQUEST")}


def test_the_times_on_the_page_are_those_of_the_tasks() -> None:
    table = _PAGE.partition("## When something dies")[2].partition("\n## ")[0]
    patience = Patience()

    assert f"cannot be pulled for {patience.pulling:g} s," in table
    assert f"by a quota or a policy for {patience.making:g} s," in table
    assert f"no node takes for {patience.placing / 60:g} minutes," in table
    assert f"all else after {_default(Readiness, 'limit') / 60:g} minutes" in table
    assert f"waits {_default(remove, 'limit') / 60:g} minutes at most" in table


def test_the_size_of_the_shared_volume_on_the_page_is_what_is_compiled() -> None:
    [size] = re.findall(r"\*\*Size\.\*\* (\d+) GiB by default", _PAGE)

    assert f"{size}Gi" == Build().workspace_size


def _default(function: Callable[..., object], parameter: str) -> float:
    value = inspect.signature(function).parameters[parameter].default
    assert isinstance(value, float)
    return value


def _flags(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
