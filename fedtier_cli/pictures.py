"""Pictures before they are drawn: what they can be called, and whether there is matplotlib, of the view extra.

matplotlib is slow to import and may be absent, so that commands import this module alone; it loads what draws when
there is something to draw.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fedtier.problems import StartupError

if TYPE_CHECKING:
    from fedtier_cli.picture_file import PictureFile

FORMATS: Final = (".png", ".svg")
_REMEDY: Final = "install the view extra: pip install 'fedtier[view]'"
MISSING: Final = f"pictures need matplotlib, which is not installed; {_REMEDY}"


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_drawable(path: Path, flag: str) -> None:
    """Check before any work is done that a picture of this name can be made.

    Raises
    ------
    StartupError
        The suffix is of no known format, there is no such folder, or matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise StartupError(f"the picture {path} has the suffix {path.suffix!r}; name it .png or .svg by {flag}")
    if not path.parent.is_dir():
        raise StartupError(
            f"the folder {path.parent} for the picture does not exist; make it, or choose another {flag}"
        )
    if path.is_dir():
        raise StartupError(f"the picture {path} would take the place of a folder; choose another {flag}")
    if not can_draw():
        raise StartupError(MISSING)


def picture_file(path: Path, flag: str) -> PictureFile:
    """Load what draws, and return the file to draw into.

    Parameters
    ----------
    path : Path
        Of one of `FORMATS`.
    flag : str
        By which the user chose the path.

    Raises
    ------
    StartupError
        matplotlib cannot be loaded.
    """
    try:
        module = importlib.import_module("fedtier_cli.picture_file")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise StartupError(f"pictures need matplotlib, which cannot be loaded ({reason}); {_REMEDY}") from error
    made: type[PictureFile] = module.PictureFile
    return made(path, flag)
