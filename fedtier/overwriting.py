"""Files that are written over instead of made anew: fresh pages cost the kernel more than the copy into them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def overwritten(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written from its start, over what may lie there; it ends where the block stopped writing.

    Until the block is left the file may end in what it held before, so nobody reads it earlier.

    Parameters
    ----------
    path : Path
        Is made, for its owner alone, where there is none.

    Raises
    ------
    OSError
        What lies there is then of no use to anyone.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        yield file
        file.truncate()
