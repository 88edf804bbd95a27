from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, "broken")
from fedtier.problems import StartupError
from fedtier_cli.pictures import picture_file, require_drawable
require_drawable(Path("a.png"), "--out")
try:
    picture_file(Path("a.png"), "--out")
except StartupError as error:
    print(error)
"""


def test_a_matplotlib_that_cannot_be_loaded_is_one_sentence_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken" / "matplotlib").mkdir(parents=True)
    (tmp_path / "broken" / "matplotlib" / "__init__.py").write_text("raise ImportError('libfreetype\\nis missing')\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == (
        "pictures need matplotlib, which cannot be loaded (libfreetype is missing); "
        "install the view extra: pip install 'fedtier[view]'\n"
    )
