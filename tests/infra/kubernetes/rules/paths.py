"""Paths that programs are told lie on volumes, and what they read is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.mounted import is_there, is_writable, mount_of
from tests.infra.kubernetes.pods import Pod
from tests.infra.kubernetes.programs import Program, program_in, programs_of

_WRITTEN: Final = {"FEDTIER_STATE_DIR", "FEDTIER_SAVED_DIR", "FEDTIER_HOME", "HOME", "TMPDIR"}
_PREFIXES: Final = ("FEDTIER_", "AWS_")


def paths_lie_on_volumes(manifests: Manifests) -> Iterator[str]:
    """Every absolute path is on a volume, for each pod of an Indexed Job, and a mounted file is there."""
    for program in _every_program(manifests):
        for path in _paths(program):
            mount = mount_of(program.container, path)
            if mount is None:
                yield f"{program.container.where} is told {path}, which lies on no volume"
            elif is_there(program.pod, program.container, path, manifests, program.environment) is False:
                yield f"{program.container.where} is told {path}, which volume {mount['name']} does not have"


def written_paths_can_be_written(manifests: Manifests) -> Iterator[str]:
    """State lies on volumes that are writable, and so does /tmp."""
    for program in programs_of(manifests):
        written = {name: path for name, path in program.environment.items() if name in _WRITTEN and path[:1] == "/"}
        for name, path in (written | {"a folder for temporary files,": "/tmp"}).items():
            mount = mount_of(program.container, path)
            if mount is None or not is_writable(program.pod, mount):
                yield f"{program.container.where} cannot write to {name} {path}"


def parts_of_volumes_are_there(manifests: Manifests) -> Iterator[str]:
    """A mount of a part of a ConfigMap or Secret names a part that it has, for each pod of an Indexed Job."""
    for program in _every_program(manifests):
        for mount in program.container.mounts:
            path = mount["mountPath"]
            there = is_there(program.pod, program.container, path, manifests, program.environment)
            if there is False:
                yield f"{program.container.where} mounts {path} of volume {mount['name']}, which does not have it"


def _every_program(manifests: Manifests) -> Iterator[Program]:
    for program in programs_of(manifests):
        for index in _indices(program.pod):
            yield program_in(program.pod, program.container, manifests, index=index)


def _indices(pod: Pod) -> range:
    return range(pod.count if pod.maker.startswith("Job/") else 1)


def _paths(program: Program) -> Iterator[str]:
    values = [value for name, value in program.environment.items() if name.startswith(_PREFIXES)]
    words = [word.partition("=")[2] or word for word in program.words]
    for value in [*values, *words]:
        yield from (path for path in value.split(os.pathsep) if path.startswith("/") and not path.startswith("//"))
