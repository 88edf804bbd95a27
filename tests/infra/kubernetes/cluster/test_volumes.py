"""Volumes hold what a real kubelet would put there, with the same rights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.infra.kubernetes.cluster.objects import Objects, StatefulSet
from tests.infra.kubernetes.cluster.pods import stateful_pods
from tests.infra.kubernetes.cluster.samples import objects, settings, stateful
from tests.infra.kubernetes.cluster.volumes import VolumePlan, bytes_in, make_volume, mount_words, volume_plans

_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to a group takes root")


def _plans(folder: Path, found: Objects) -> dict[str, VolumePlan]:
    [pod] = stateful_pods(found.all(StatefulSet)[0])
    return {plan.name: plan for plan in volume_plans(pod, found, folder / "pod", folder / "claims")}


def _plan(folder: Path, **volume: Any) -> VolumePlan:
    found = objects(stateful(volumes=[{"name": "one", **volume}]), settings(A="1", B="2"))
    return _plans(folder, found)["one"]


@_as_root
def test_files_are_for_the_group_and_lie_behind_links(tmp_path: Path) -> None:
    items = [{"key": "A", "path": "a", "mode": 0o400}, {"key": "B", "path": "deep/b"}]
    plan = _plan(tmp_path, configMap={"name": "settings", "defaultMode": 0o444, "items": items})

    make_volume(plan, 10001)

    assert (plan.folder / "a").is_symlink()
    seen = {path: (plan.folder / path).stat() for path in ("a", "deep/b")}
    assert {path: oct(found.st_mode & 0o7777) for path, found in seen.items()} == {"a": "0o440", "deep/b": "0o444"}
    assert {found.st_gid for found in seen.values()} == {10001}
    assert (plan.folder / "deep" / "b").read_text() == "2"


def test_without_a_group_files_have_their_own_modes(tmp_path: Path) -> None:
    plan = _plan(tmp_path, configMap={"name": "settings", "defaultMode": 0o400})

    make_volume(plan, None)

    assert {path.name: path.stat().st_mode & 0o777 for path in plan.folder.glob("[AB]")} == {"A": 0o400, "B": 0o400}


@_as_root
def test_a_claim_keeps_what_is_in_it_and_gives_it_to_the_group(tmp_path: Path) -> None:
    plan = _plans(tmp_path, objects(stateful("store")))["state"]
    make_volume(plan, None)
    (plan.folder / "kept").write_text("kept")

    make_volume(plan, 10001)

    assert plan.folder == tmp_path / "claims" / "state-store-0"
    assert (plan.folder / "kept").read_text() == "kept"
    assert (plan.folder / "kept").stat().st_gid == 10001
    assert plan.folder.stat().st_mode & 0o2070 == 0o2070


def test_a_folder_in_memory_has_its_size(tmp_path: Path) -> None:
    plan = _plan(tmp_path, emptyDir={"medium": "Memory", "sizeLimit": "1Mi"})

    assert "size=1048576,mode=2777,gid=10001" in mount_words(plan, 10001)


def test_a_folder_in_memory_without_a_limit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no limit"):
        _plan(tmp_path, emptyDir={"medium": "Memory"})


@pytest.mark.parametrize(
    "volume",
    [
        {"secret": {"secretName": "not-there"}},
        {"configMap": {"name": "settings", "items": [{"key": "NOT_THERE", "path": "a"}]}},
        {},
    ],
)
def test_a_volume_of_what_is_not_there_is_an_error(tmp_path: Path, volume: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there is no|no key|of no kind"):
        _plan(tmp_path, **volume)


def test_what_a_folder_takes_is_measured(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(10_000))

    assert bytes_in(tmp_path) >= 10_000
