"""The Dockerfile as a text, and what of a checkout its build sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.infra.containers.library import Builder
from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT

_SECRETS = (
    "infra/kubernetes/secrets/fedtier/tokens/client-0.token",
    "infra/kubeflow/secrets/tokens/client-0.token",
    "infra/ansible/secrets/s3.json",
    ".env",
    ".git/config",
)
_LEFTOVERS = (
    "fedtier/__pycache__/exact.cpython-312.pyc",
    ".venv/bin/python",
    "runs/1/model",
    "tests/test_a.py",
    "infra/kubernetes/README.md",
)


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [linter("hadolint"), "--failure-threshold=style", str(CHECKOUT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_where_podman_is_missing_its_tests_say_so_and_no_more(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "FEDTIER_REQUIRE_ALL"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-n0",
            str(Path(__file__).with_name("test_podman.py")),
        ],
        cwd=CHECKOUT,
        env=environment | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "containers of its own need" in done.stdout
    assert " passed" not in done.stdout


def test_a_build_sees_code_and_versions_and_no_secret(base_images: Mapping[str, str], tmp_path: Path) -> None:
    wanted = {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "fedtier/exact.py",
        "client/datasets/samples/a.csv",
        "infra/__init__.py",
        "infra/kubeflow/steps/data.py",
        "infra/kubernetes/overlays/minikube/s3.yaml",
    }
    for name in (*wanted, *_SECRETS, *_LEFTOVERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("planted")
    shutil.copy(CHECKOUT / ".dockerignore", tmp_path)

    with Builder() as builder:
        base = next(identity for name, identity in base_images.items() if "python" in name)
        recipe = builder.folder / "Containerfile"
        recipe.write_text(f"FROM {base}\nCOPY . /context\nRUN cd /context && find . -type f\n")
        seen = builder.run("build", "--no-cache", f"--file={recipe}", str(tmp_path)).stdout
        builder.run("rmi", seen.split()[-1])

    assert {line.removeprefix("./") for line in seen.splitlines() if line.startswith("./")} == wanted
