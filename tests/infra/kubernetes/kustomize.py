"""What kubectl makes of the overlays."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT

FOLDER: Final = CHECKOUT / "infra" / "kubernetes"
OVERLAYS: Final = sorted(path.name for path in (FOLDER / "overlays").glob("*") if path.is_dir())


def built(overlay: Path) -> str:
    """Return an overlay's objects as YAML; a warning is a failure."""
    done = subprocess.run(
        [linter("kubectl"), "kustomize", str(overlay)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
