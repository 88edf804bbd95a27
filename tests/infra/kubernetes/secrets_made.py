"""The Secrets that `secrets.sh` makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.infra.kubernetes.kustomize import FOLDER
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.linters import linter
from tests.infra.programs import environment


def secrets_made(overlay: str, folder: Path) -> Manifests:
    """Return what it prints for an overlay, with its credentials in a folder; the objects get their namespace."""
    kubectl, fedtier = Path(linter("kubectl")), Path(sys.executable).with_name("fedtier")
    path = os.pathsep.join([str(kubectl.parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [FOLDER / "secrets.sh", "--print", "--overlay", overlay, "--folder", folder],
        env=environment() | {"FEDTIER": str(fedtier), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Manifests.parse(done.stdout)
