from __future__ import annotations

from pathlib import Path

import pytest

from infra.kubeflow.steps.workspace import Workspace

WORKSPACE = Workspace(Path("/shared"))


def test_every_client_has_data_a_token_and_a_state_of_its_own() -> None:
    paths = [
        path(f"client-{number}")
        for number in range(12)
        for path in (WORKSPACE.shard, WORKSPACE.client_token, WORKSPACE.state)
    ]

    assert len(set(paths)) == 36
    assert all(path.is_relative_to(WORKSPACE.root) for path in paths)


def test_whatever_is_secret_is_below_the_folder_that_is_removed() -> None:
    secret = [
        WORKSPACE.authority,
        WORKSPACE.s3_credentials,
        WORKSPACE.client_token("client-0"),
    ]

    assert all(path.is_relative_to(WORKSPACE.access) for path in secret)
    assert WORKSPACE.finished.is_relative_to(WORKSPACE.access), "another try of the aggregators is not at its end"
    assert not any(path.is_relative_to(WORKSPACE.access) for path in (WORKSPACE.shards, WORKSPACE.state("client-0")))


@pytest.mark.parametrize("client_id", ["", "..", "../client-0", "a/b", "/etc", "client-0\n", "x" * 129])
def test_no_path_is_made_of_what_is_no_client(client_id: str) -> None:
    for path in (WORKSPACE.shard, WORKSPACE.client_token, WORKSPACE.state):
        with pytest.raises(ValueError, match="does not match"):
            path(client_id)
