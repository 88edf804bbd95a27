"""Files of keys and tokens: who may read them, and that they are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from fedtier.problems import StartupError
from fedtier.tokens import generate_keys

SIGNING_KEY: Final = "signing-key.pem"
VERIFY_KEY: Final = "verify-key.pem"


def make_key_pair(folder: Path) -> None:
    """Make a signing key and its public key in a folder; keys that are there are never overwritten.

    Raises
    ------
    StartupError
        One is there, or the folder cannot be written.
    """
    private, public = generate_keys()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, pem, mode in ((SIGNING_KEY, private, 0o600), (VERIFY_KEY, public, 0o644)):
            with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(pem)
    except FileExistsError:
        raise StartupError(f"{folder} holds a key already; choose another folder, keys are not overwritten") from None
    except OSError as error:
        raise StartupError(f"the keys cannot be written to {folder}: {error.strerror}") from None


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone may read; who reads it meanwhile gets the old one or the new one, whole.

    Raises
    ------
    StartupError
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600 from the start
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}") from None
