"""Images are the Dockerfile's, in the project's version, or others that are pinned."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.programs import IMAGES, programs_of
from tests.infra.programs import CHECKOUT

OTHERS: Final = {"docker.io/library/nginx:1.28"}
"""What else is run, as it is."""
_STAGE: Final = re.compile(r"^FROM \S+ AS (\S+)$", re.MULTILINE)
_HOME: Final = {"client": "fedtier-client", "split": "fedtier-client"}
"""Where a command is to be had that needs torch; the others are servers'."""


def images_are_ours_or_pinned(manifests: Manifests) -> Iterator[str]:
    """An image is a target of the Dockerfile, from any registry, tagged with the project's version; or of `OTHERS`."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    ours = {f"fedtier-{target}:{version}" for target in _targets()}
    for pod in manifests.pods:
        for container in pod.all_containers:
            if container.image not in OTHERS and container.image.rpartition("/")[2] not in ours:
                yield f"{container.where} has image {container.image}, which is none of {sorted(ours | OTHERS)}"


def commands_are_in_their_image(manifests: Manifests) -> Iterator[str]:
    """A command runs in the image that has what it needs."""
    for program in programs_of(manifests):
        if program.command is not None:
            home = _HOME.get(str(program.command.name), IMAGES[0])
            if home not in program.container.image:
                yield f"{program.container.where} runs {program.command.name}, which is in {home}"


def _targets() -> set[str]:
    """Return the stages of the Dockerfile that are to be run."""
    _, *parts = _STAGE.split((CHECKOUT / "Dockerfile").read_text())
    return {name for name, stage in zip(parts[::2], parts[1::2], strict=True) if "\nENTRYPOINT " in stage}
