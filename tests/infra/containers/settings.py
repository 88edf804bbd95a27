"""What podman is told: where its files lie, and what it may not expect of a machine that is a container itself."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def environment(folder: Path, *, images: Path, library: Path | None = None) -> dict[str, str]:
    """Write the settings of one podman into a folder and return the variables by which it finds them.

    Parameters
    ----------
    folder
        For its settings, networks, and whatever it runs.
    images
        Where it keeps images and containers.
    library
        Where it finds more images, which it does not change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stores = f'additionalimagestores = ["{library}"]' if library else ""
    files = {
        "CONTAINERS_CONF": ("containers.conf", _containers(folder)),
        "CONTAINERS_STORAGE_CONF": (
            "storage.conf",
            f'[storage]\ndriver = "overlay"\ngraphroot = "{images}"\nrunroot = "/run/storage"\n'
            f"[storage.options]\n{stores}\n",
        ),
        # Nothing is fetched: what is not there must be an error, and not a question.
        "CONTAINERS_REGISTRIES_CONF": ("registries.conf", "unqualified-search-registries = []\n"),
    }
    for name, content in files.values():
        (folder / name).write_text(content)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        # Podman has systemd ask containers for their health; whoever wants to know runs `podman healthcheck run`.
        "DISABLE_HC_SYSTEMD": "true",
        **{variable: str(folder / name) for variable, (name, _) in files.items()},
    }


def _containers(folder: Path) -> str:
    # Podman asks for more open files and processes than a machine may allow, and then runs nothing.
    limits = [
        f'"{name}={soft}:{hard}"'
        for name, (soft, hard) in (
            ("nofile", resource.getrlimit(resource.RLIMIT_NOFILE)),
            ("nproc", resource.getrlimit(resource.RLIMIT_NPROC)),
        )
        if resource.RLIM_INFINITY not in (soft, hard)
    ]
    return f"""
[containers]
default_ulimits = [{", ".join(limits)}]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
