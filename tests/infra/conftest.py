"""Marks every test below this folder, puts the longest first, and makes what files of several folders share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.infra.containers import images, library

_FOLDER = Path(__file__).parent
# Where files are spread over two processes, the first is one's for most of the time, and the other goes through the
# rest, longest first. The second makes the images that others use, too.
_LONGEST = [
    _FOLDER / name for name in ("test_bare_metal.py", "test_kubeflow.py", "test_kubernetes.py", "test_compose.py")
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker("infra")
        if "base_images" in getattr(item, "fixturenames", ()):
            # Images are made before the first of them, or waited for while another process makes them.
            item.add_marker(pytest.mark.timeout(2400))
    items.sort(key=lambda item: _LONGEST.index(item.path) if item.path in _LONGEST else len(_LONGEST))


@pytest.fixture(scope="session")
def base_images() -> Iterator[Mapping[str, str]]:
    """The ids of the stand-ins of public images, by the real images' names."""
    if reason := images.why_not_here():
        pytest.skip(reason)
    made = images.base_images()
    with library.in_use():
        yield made


@pytest.fixture(scope="session")
def built_images(base_images: Mapping[str, str]) -> Mapping[str, images.Built]:
    """The images of this checkout's Dockerfile, by target."""
    assert base_images, "what they are built on is kept while they are in use"
    return dict(zip(images.TARGETS, images.build(*images.TARGETS), strict=True))


@pytest.fixture(scope="session")
def all_images(base_images: Mapping[str, str], built_images: Mapping[str, images.Built]) -> Mapping[str, str]:
    """The ids of both, by name."""
    return {**base_images, **{one.name: one.identity for one in built_images.values()}}
