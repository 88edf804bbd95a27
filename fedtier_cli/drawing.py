"""How every picture looks whoever draws it, and how one is written. Needs matplotlib, of the view extra."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from fedtier.problems import StartupError


@contextmanager
def usual_style() -> Iterator[None]:
    """Draw as matplotlib does by itself, so that a ``matplotlibrc`` of the user gives no other picture."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "fedtier", "svg.fonttype": "none"})
        yield


def write_picture(path: Path, figure: Figure, flag: str) -> None:
    """Write a picture that appears whole or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    path : Path
        Of one of `fedtier_cli.pictures.FORMATS`.
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
