"""What the volumes of a pod hold and where they lie, and the making of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.infra.kubernetes.cluster.objects import ConfigMap, Objects, Secret
from tests.infra.kubernetes.cluster.pod_spec import ConfigMapSource, KeyToPath, SecretSource, Volume
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.cluster.variables import contents
from tests.infra.kubernetes.quantities import quantity

_FOLDER_OF_GROUP = 0o2775
_READABLE_BY_GROUP = 0o440


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A volume, before it is made.

    Parameters
    ----------
    name : str
        What the pod calls it.
    folder : Path
    files : Mapping of str to (bytes, int), or None
        Content and mode of each file of a Secret or a ConfigMap, which nobody changes; None of all others.
    in_memory : int or None
        Bytes of a file system of its own in memory.
    limit : int or None
        Bytes past which its pod is evicted, as the kubelet does.
    is_kept : bool
        Whether it outlives the pod.
    """

    name: str
    folder: Path
    files: Mapping[str, tuple[bytes, int]] | None = field(default=None, repr=False)
    in_memory: int | None = None
    limit: int | None = None
    is_kept: bool = False

    @property
    def is_projected(self) -> bool:
        """Whether it is of a Secret or a ConfigMap."""
        return self.files is not None


def volume_plans(pod: Pod, objects: Objects, folder: Path, claims: Path) -> list[VolumePlan]:
    """Return the volumes of a pod.

    Parameters
    ----------
    pod : Pod
    objects : Objects
    folder : Path
        Where those lie that live as long as the pod.
    claims : Path
        Where those lie that outlive it.

    Raises
    ------
    ValueError
        Something that is referred to is not there, or the volume is of no kind that is known.
    """
    return [_plan(volume, objects, folder / volume.name, claims) for volume in pod.spec.volumes]


def make_volume(plan: VolumePlan, group: int | None) -> None:
    """Make a volume, with the rights of the pod's group; what is in memory is mounted by `mount_words`."""
    plan.folder.mkdir(parents=True, exist_ok=plan.is_kept)
    if plan.is_projected:
        _write(plan, group)
    else:
        plan.folder.chmod(0o777)
        if group is not None:
            _give_to_group(plan.folder, group)


def mount_words(plan: VolumePlan, group: int | None) -> list[str]:
    """Return the command that mounts a volume in memory; what is in it counts as its writers' memory."""
    options = f"size={plan.in_memory},mode=2777,gid={group or 0}"
    return ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(plan.folder)]


def bytes_in(folder: Path) -> int:
    """Return what a folder takes on the disk; what goes away meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _plan(volume: Volume, objects: Objects, folder: Path, claims: Path) -> VolumePlan:
    if volume.secret is not None:
        source = volume.secret
        whole = contents(objects, Secret, source.secret_name, optional=source.optional)
        return VolumePlan(volume.name, folder, dict(_projected(whole, source)))
    if volume.config_map is not None:
        whole = contents(objects, ConfigMap, volume.config_map.name, optional=volume.config_map.optional)
        return VolumePlan(volume.name, folder, dict(_projected(whole, volume.config_map)))
    if volume.empty_dir is not None:
        limit = volume.empty_dir.size_limit
        size = None if limit is None else int(quantity(limit))
        if volume.empty_dir.medium == "Memory":
            if size is None:
                raise ValueError(f"volume {volume.name} is in memory and has no limit: it could take all there is")
            return VolumePlan(volume.name, folder, in_memory=size)
        return VolumePlan(volume.name, folder, limit=size)
    if volume.persistent_volume_claim is not None:
        return VolumePlan(volume.name, claims / volume.persistent_volume_claim.claim_name, is_kept=True)
    raise ValueError(f"volume {volume.name} is of no kind")


def _projected(
    whole: Mapping[str, bytes], source: SecretSource | ConfigMapSource
) -> Iterator[tuple[str, tuple[bytes, int]]]:
    items = source.items or tuple(KeyToPath(key=key, path=key) for key in whole)
    for item in items:
        if item.key not in whole:
            raise ValueError(f"{source!r} has no key {item.key}; it has {', '.join(sorted(whole))}")
        yield item.path, (whole[item.key], source.default_mode if item.mode is None else item.mode)


def _write(plan: VolumePlan, group: int | None) -> None:
    """Write files where the kubelet has them: in a folder of their own, behind links, so that all change at once."""
    version = plan.folder / "..version"
    version.mkdir()
    files = plan.files or {}
    for path, (content, mode) in files.items():
        file = version / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(content)
        if group is None:
            file.chmod(mode)
        else:
            os.chown(file, 0, group)
            file.chmod(mode | _READABLE_BY_GROUP)
    (plan.folder / "..data").symlink_to(version.name)
    for name in {path.partition("/")[0] for path in files}:
        (plan.folder / name).symlink_to(f"..data/{name}")
    if group is not None:
        for place in (plan.folder, version):
            os.chown(place, 0, group)
            place.chmod(_FOLDER_OF_GROUP)


def _give_to_group(folder: Path, group: int) -> None:
    for place, _, names in os.walk(folder):
        os.chown(place, -1, group)
        os.chmod(place, os.stat(place).st_mode & 0o7777 | 0o2770)
        for name in names:
            path = os.path.join(place, name)
            os.lchown(path, -1, group)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o7777 | 0o660)
