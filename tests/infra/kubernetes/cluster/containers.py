"""The words by which podman makes a pod and runs its containers: what the manifests say, rewritten.

A pod of Kubernetes becomes a pod of podman without a network, which the cluster then gives an address; each container
becomes one `podman run`. `podman kube play` is not used: it knows neither Secrets as variables nor `subPathExpr`, nor
Jobs, and drops in silence what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.infra.kubernetes.cluster.pod_spec import Container, PodSpec, VolumeMount
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.expansion import expanded
from tests.infra.kubernetes.quantities import quantity


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pod's containers find.

    Parameters
    ----------
    folders : Mapping of str to Path
        Where each volume lies, by the pod's name for it.
    unchangeable : frozenset of str
        Those of them that are read-only for everybody: Secrets and ConfigMaps.
    hosts, resolver : Path
        Its ``/etc/hosts`` and ``/etc/resolv.conf``.
    """

    folders: Mapping[str, Path]
    unchangeable: frozenset[str]
    hosts: Path
    resolver: Path


def pod_words(pod: Pod) -> list[str]:
    """Return the call that makes a pod of podman, whose containers share network, IPC and host name."""
    sharing = ("--network", "none", "--no-hosts", "--share", "ipc,net,uts")
    return [
        "pod",
        "create",
        "--name",
        pod.name,
        "--infra-name",
        f"{pod.name}.network",
        "--hostname",
        pod.hostname,
        *sharing,
    ]


def container_name(pod: Pod, container: Container) -> str:
    """Return what podman calls a container."""
    return f"{pod.name}.{container.name}"


def container_words(
    pod: Pod, container: Container, variables: Mapping[str, str], surroundings: Surroundings
) -> list[str]:
    """Return the call that runs a container, in the foreground, until it ends.

    Raises
    ------
    ValueError
        What it is to be cannot be had: the kubelet would not start it either.
    """
    words = [
        # A container that is started again is a new one, with nothing in its root of what the last one wrote.
        *("run", "--replace", "--pod", pod.name, "--name", container_name(pod, container)),
        # What a program prints is kept once, by who calls podman.
        *("--log-driver", "none", "--pull", "never", "--sig-proxy=false"),
        # The variables of this machine's proxies are none of the manifests'.
        *("--http-proxy=false", "--env-host=false"),
        *_rights(pod.spec, container),
        *_limits(container),
        *_entry_point(container),
    ]
    for name, value in sorted(variables.items()):
        words += ["--env", f"{name}={value}"]
    for mount in container.volume_mounts:
        words += ["--volume", _mounted(mount, variables, surroundings)]
    for file in (surroundings.hosts, surroundings.resolver):
        words += ["--volume", f"{file}:/etc/{file.name}:ro"]
    words.append(container.image)
    words += [expanded(word, variables) for word in (*container.command[1:], *container.args)]
    return words


def _rights(spec: PodSpec, container: Container) -> Iterator[str]:
    own, shared = container.security_context, spec.security_context
    user = shared.run_as_user if own.run_as_user is None else own.run_as_user
    group = shared.run_as_group if own.run_as_group is None else own.run_as_group
    if (shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root) and not user:
        raise ValueError(f"container {container.name} is not to be root, and names no other user: set runAsUser")
    if user is not None:
        # Without a group it is the one that the image gives the user.
        yield from ("--user", f"{user}" if group is None else f"{user}:{group}")
    groups: Iterable[int | None] = (shared.fs_group, *shared.supplemental_groups)
    for number in groups:
        if number is not None:
            yield from ("--group-add", str(number))
    if own.read_only_root_filesystem:
        # Podman would put writable file systems of its own on /tmp, /run and others.
        yield from ("--read-only", "--read-only-tmpfs=false")
    if not own.allow_privilege_escalation:
        yield from ("--security-opt", "no-new-privileges")
    profile = own.seccomp_profile or shared.seccomp_profile
    if profile is None or profile.type == "Unconfined":
        yield from ("--security-opt", "seccomp=unconfined")
    for word, names in (("--cap-drop", own.capabilities.drop), ("--cap-add", own.capabilities.add)):
        for name in names:
            yield from (word, name)


def _limits(container: Container) -> Iterator[str]:
    limits = container.resources.limits
    if limits.memory is not None:
        size = str(int(quantity(limits.memory)))
        # A node of Kubernetes has no swap that a container could take instead.
        yield from ("--memory", size, "--memory-swap", size)
    if limits.cpu is not None:
        yield from ("--cpus", str(float(quantity(limits.cpu))))


def _entry_point(container: Container) -> Iterator[str]:
    if container.command:
        yield from ("--entrypoint", container.command[0])
    if container.working_dir:
        yield from ("--workdir", container.working_dir)


def _mounted(mount: VolumeMount, variables: Mapping[str, str], surroundings: Surroundings) -> str:
    if mount.name not in surroundings.folders:
        raise ValueError(f"{mount.mount_path} is of a volume {mount.name}, which the pod has not")
    source = surroundings.folders[mount.name]
    path = expanded(mount.sub_path_expr, variables) or mount.sub_path
    if path:
        if "$(" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{mount.mount_path}: {path} is no path within its volume")
        source = (source / path).resolve()
        if not source.exists():
            # The kubelet makes a folder of it, which is never what is wanted of a volume with files.
            raise ValueError(f"{mount.mount_path}: its volume has no {path}")
    is_fixed = mount.read_only or mount.name in surroundings.unchangeable
    return f"{source}:{mount.mount_path}:{'ro' if is_fixed else 'rw'}"
