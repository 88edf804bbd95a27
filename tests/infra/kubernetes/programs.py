"""The commands of fedtier that containers run, each with the flags and variables that it would start with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import patch

import click

from fedtier.bucket import connect
from fedtier.flags import ENVIRONMENT_PREFIX
from fedtier_cli.main import main
from tests.infra.kubernetes.environment import environment_of, words_of
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Container, Pod
from tests.infra.kubernetes.sources import sources

IMAGES: Final = ("fedtier-server", "fedtier-client")
"""Those whose entry point is ``fedtier``."""
_S3: Final = ("fedtier.s3_client", "_connect")


@dataclass(frozen=True, slots=True)
class Program:
    """A container that runs a command of fedtier.

    Parameters
    ----------
    pod : Pod
    container : Container
    command : click.Command or None
        None where its words name none.
    words : list of str
        What follows the command's name.
    environment : Mapping of str to str
        All variables of the container.
    """

    pod: Pod
    container: Container
    command: click.Command | None
    words: list[str]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What the command is told, read by its own parser.

        Raises
        ------
        click.ClickException
            It refuses.
        """
        assert self.command is not None
        with _only(self.environment):
            return self.command.make_context(self.command.name, list(self.words)).params

    @property
    def grace(self) -> int:
        """Seconds that it takes to end, where it has such a flag."""
        if self.command is None:
            return 0
        try:
            return int(self.settings.get("grace") or 0)
        except click.ClickException:
            return 0  # another rule says so

    @property
    def variables_read(self) -> set[str]:
        """The variables ``FEDTIER_...`` that the command reads."""
        assert self.command is not None
        flags = {str(option.envvar or f"{ENVIRONMENT_PREFIX}_{option.name}".upper()) for option in self.command.params}
        return flags | sources().variables_read_from(*self._start)

    @property
    def talks_to_s3(self) -> bool:
        """Whether the command's code leads to S3."""
        return _S3 in sources().reached_from(*self._start)

    @property
    def _start(self) -> tuple[str, str]:
        assert self.command is not None
        assert self.command.callback is not None
        return self.command.callback.__module__, self.command.callback.__name__


def programs_of(manifests: Manifests) -> Iterator[Program]:
    """Yield every container that has an image of ours, once for each kind of pod."""
    for pod in manifests.pods:
        for container in pod.all_containers:
            if container.image.rpartition("/")[2].partition(":")[0] in IMAGES:
                yield program_in(pod, container, manifests)


def program_in(pod: Pod, container: Container, manifests: Manifests, *, index: int = 0) -> Program:
    """Return what a container runs, where its image is one of ours."""
    environment = environment_of(pod, container, manifests, index=index)
    words = words_of(container, environment)
    entry = container.spec.get("command", ["fedtier"])
    command = None
    if entry == ["fedtier"] and words:
        command = main.get_command(click.Context(main), words[0])
    return Program(pod, container, command, words[1:], environment)


def variables_of_aws() -> set[str]:
    """Return the variables ``AWS_...`` that are looked for when our S3 client is made, which finds credentials too."""
    looked_for = _Noticing({"AWS_EC2_METADATA_DISABLED": "true"})  # or it would ask the network
    with patch.object(os, "environ", looked_for):
        connect()
    return {name for name in looked_for.names if name.startswith("AWS_")}


class _Noticing(dict[str, str]):
    """An environment that remembers what was looked for in it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.names.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.names.add(str(key))
        return super().__contains__(key)

    def copy(self) -> _Noticing:
        return self


@contextmanager
def _only(environment: Mapping[str, str]) -> Iterator[None]:
    with patch.dict(os.environ, environment, clear=True):
        yield
