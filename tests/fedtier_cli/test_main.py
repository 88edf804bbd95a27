from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from fedtier_cli.main import main

COMMANDS = main.list_commands(click.Context(main))


def test_the_help_lists_every_command() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_its_flags_from_variables_of_one_prefix(name: str) -> None:
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    inner = command.context_class(command, parent=context, info_name=name, **command.context_settings)
    assert inner.auto_envvar_prefix == "FEDTIER"


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(main, ["conquer"])
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert "conquer" in done.output


@pytest.mark.parametrize(("name", "package"), [("master", "flask"), ("status", "botocore"), ("worker", "flask")])
def test_a_command_of_an_extra_that_is_not_installed_says_which(name: str, package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from fedtier_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: fedtier {name} needs the package {package}")
    assert "pip install 'fedtier[server]'" in done.stderr


@pytest.mark.parametrize("module", ["master_aggregator", "worker_aggregator"])
def test_a_tier_can_be_started_as_a_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert f"fedtier {module.removesuffix('_aggregator')}" in done.stdout


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("token", ["flask", "boto3", "torch"]),
        ("client", ["flask", "boto3", "jwt"]),
        ("split", ["flask", "torch", "boto3", "botocore"]),
    ],
)
def test_a_command_imports_no_other_tiers_libraries(name: str, absent: list[str]) -> None:
    script = (
        "import sys, click; from fedtier_cli.main import main; "
        f"main.get_command(click.Context(main), {name!r}); "
        f"print([module for module in {absent} if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_is_listed_without_a_library_of_any_extra() -> None:
    script = (
        "import sys; from fedtier_cli.main import main; main(['--help'], standalone_mode=False); "
        "print([module for module in ['flask', 'boto3', 'torch', 'matplotlib'] if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "  graph " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_does_not_look_for_garbage_at_its_end() -> None:
    # What is registered first is called last.
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
        "from fedtier_cli.main import main; main(['token', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"


def test_no_command_imports_matplotlib_before_it_draws() -> None:
    script = (
        "import sys, click; from fedtier_cli.main import main; "
        f"[main.get_command(click.Context(main), name) for name in {COMMANDS}]; "
        "print('fedtier_cli.pictures' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"
