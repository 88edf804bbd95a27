"""`secrets.sh` as a person calls it, and the Secrets that it makes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.infra.kubernetes.kustomize import FOLDER
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.linters import linter
from tests.infra.programs import FEDTIER, environment


def secrets_script(
    *words: str | Path, kubeconfig: Path | None = None, folder: Path = FOLDER
) -> subprocess.CompletedProcess[str]:
    """Call the script of a folder with this environment's fedtier; without a `kubeconfig` it finds no cluster."""
    path = os.pathsep.join([str(Path(linter("kubectl")).parent), os.environ.get("PATH", "")])
    surroundings = environment() | {"FEDTIER": FEDTIER, "PATH": path, "KUBECONFIG": str(kubeconfig or "/none")}
    return subprocess.run(
        [folder / "secrets.sh", *words], env=surroundings, capture_output=True, text=True, check=False
    )


def secrets_made(overlay: str, folder: Path) -> Manifests:
    """Return what it prints for an overlay, with its credentials in a folder; the objects get their namespace."""
    done = secrets_script("--print", "--overlay", overlay, "--folder", folder)
    assert done.returncode == 0, done.stderr
    return Manifests.parse(done.stdout)
