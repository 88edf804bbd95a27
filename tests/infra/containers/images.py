"""The images that containers of tests run: stand-ins of public ones, and those of this checkout's Dockerfile."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.infra.containers import pythons, stand_ins
from tests.infra.containers.library import Builder
from tests.infra.hosts import debian, machine
from tests.infra.programs import CHECKOUT

TARGETS = ("server", "client", "tensorboard", "kubeflow")
_WITH_TORCH = ("client", "kubeflow")
_PROGRAMS = ("podman", "runc", "catatonit", "iptables", "ip", "mmdebstrap", "nsenter", "unshare")


@dataclass(frozen=True, slots=True)
class Built:
    """An image of this checkout: its name, its id, and for how many seconds it was built, or looked up."""

    name: str
    identity: str
    seconds: float


def why_not_here() -> str | None:
    """Return what keeps containers from running on this machine, or nothing."""
    if debian.system() != "debian" or os.geteuid() != 0:
        return "containers of its own need root on Debian"
    if missing := machine.missing_programs(*_PROGRAMS):
        return f"containers of its own need {', '.join(missing)}; as root on Debian, scripts/infra.sh installs them"
    try:
        for version in stand_ins.PYTHONS:
            pythons.prefix_of(version)
    except LookupError as error:
        return str(error)
    return None


def base_images() -> dict[str, str]:
    """Return the ids of the stand-ins by the real images' names; they are made unless they are there."""
    with Builder() as builder:
        return stand_ins.make(builder)


def build(*targets: str) -> list[Built]:
    """Build targets of this checkout's Dockerfile, as it is, on the stand-ins.

    Torch without CUDA comes from where this machine's other packages come from, so images with torch have the
    version of Python that runs the tests: there is a torch for that.
    """
    with Builder() as builder:
        bases = stand_ins.make(builder)
        with _named(builder, bases):
            return [_build(builder, target) for target in targets]


def _build(builder: Builder, target: str) -> Built:
    name = f"localhost/fedtier-{target}:{version()}"
    started = time.monotonic()
    words = [*("build", "--pull=never", "--layers", f"--target={target}"), *_registries(builder.folder)]
    if target in _WITH_TORCH:
        running = f"{sys.version_info.major}.{sys.version_info.minor}"
        words += [f"--build-arg=PYTHON_VERSION={running}", "--build-arg=TORCH_INDEX_URL="]
    done = builder.run(*words, str(CHECKOUT))
    return Built(name, done.stdout.split()[-1], round(time.monotonic() - started, 1))


def version() -> str:
    """Return the project's version."""
    return str(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"])


@contextmanager
def _named(builder: Builder, images: Mapping[str, str]) -> Iterator[None]:
    """Let images have their names meanwhile; afterwards nobody who runs containers finds them without asking."""
    for name, identity in images.items():
        builder.run("tag", identity, name)
    try:
        yield
    finally:
        for name in images:
            builder.run("untag", name, name)


def _registries(folder: Path) -> Sequence[str]:
    """Return what lets pip in a build reach what this machine's pip does."""
    settings, named = machine.pip_settings()
    (folder / "pip.conf").write_text(settings)
    mounts = {
        "/etc/pip.conf": folder / "pip.conf",
        str(machine.CA_BUNDLE): machine.ca_bundle(),
        **{str(path): path for path in named},
    }
    environment = [f"--env={name}" for name in machine.proxies()]
    return [*(f"--volume={source}:{target}:ro" for target, source in mounts.items()), *environment]
