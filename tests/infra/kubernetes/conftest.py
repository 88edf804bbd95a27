"""The overlays as kustomize makes them, and the Secrets that go with them."""

from __future__ import annotations

import pytest

from tests.infra.kubernetes.kustomize import FOLDER, OVERLAYS, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.secrets_made import secrets_made


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of an overlay; what uses it is done for each."""
    return str(request.param)


@pytest.fixture(scope="session")
def manifests(overlay: str) -> Manifests:
    """What is applied from the repository."""
    return Manifests.parse(built(FOLDER / "overlays" / overlay))


@pytest.fixture(scope="session")
def secrets(overlay: str, tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """What is made on the machine of whoever deploys."""
    return secrets_made(overlay, tmp_path_factory.mktemp("credentials") / overlay)
