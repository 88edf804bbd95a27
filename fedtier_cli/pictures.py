"""Pictures as files: what they can be called, how they look whoever draws them, and how one is written."""

from __future__ import annotations

import importlib.util
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fedtier.problems import StartupError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = (".png", ".svg")
MISSING: Final = "pictures need matplotlib, which is not installed; install the view extra: pip install 'fedtier[view]'"


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


@contextmanager
def usual_style() -> Iterator[None]:
    """Draw as matplotlib does by itself, so that a ``matplotlibrc`` of the user gives no other picture."""
    import matplotlib as mpl  # noqa: PLC0415 -- of the view extra, and slow to import

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "fedtier", "svg.fonttype": "none"})
        yield


def write_picture(path: Path, figure: Figure, flag: str) -> None:
    """Write a picture that appears whole or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    path : Path
        Of one of `FORMATS`.
    figure : Figure
        Made in `usual_style`, and drawn at its own resolution.
    flag : str
        By which the user chose the path.

    Raises
    ------
    StartupError
        It cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    metadata = {"Software": None} if form == "png" else {"Date": None}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            with usual_style(), warnings.catch_warnings(), temporary.open("xb") as file:
                # A name may be in a script that the font lacks; the picture shows boxes then.
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                figure.savefig(file, format=form, dpi="figure", metadata=metadata)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(
            f"the picture cannot be written to {path} ({error.strerror}); choose another {flag}"
        ) from None
