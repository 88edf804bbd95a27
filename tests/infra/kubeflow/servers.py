"""Aggregators beside a test, as a run's tasks find them: with TLS and tokens, and access left in the workspace."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.task import BUILT_IN
from infra.kubeflow.steps.workspace import Workspace
from tests.s3_servers import S3Server
from tests.system.federation import Federation
from tests.system.guards import OPERATOR, Guard


class _Tokens(Guard):
    """Servers have certificates, and want tokens; nobody else has a certificate."""

    def server(self, name: str, host: str) -> dict[str, str]:
        return {
            key: value for key, value in super().server(name, host).items() if key != "FEDTIER_REQUIRE_CLIENT_CERTS"
        }


@dataclass(frozen=True)
class Servers:
    """A federation whose clients are still to come.

    Parameters
    ----------
    federation : Federation
    server : str
        Where clients ask.
    """

    federation: Federation
    server: str


@contextlib.contextmanager
def serving(
    workspace: Workspace, s3: S3Server, bucket_key: str, *, task: str, clients: int, rounds: int
) -> Iterator[Servers]:
    """Serve a workspace's initial model, with access for its clients."""
    folder = workspace.root.parent / "servers"
    guard = _Tokens(folder)
    _give_access(workspace, guard, s3, [f"client-{number}" for number in range(clients)])
    settings = BUILT_IN[task].settings
    how = ("--lr", str(settings.lr), "--optimizer", settings.optimizer, "--momentum", str(settings.momentum))
    with Federation(folder, s3, bucket_key, guard) as federation:
        master = federation.master(workspace.initial_model, "--threshold", str(clients), "--rounds", str(rounds), *how)
        yield Servers(federation, federation.worker("worker", upstream=master.url).url)


def _give_access(workspace: Workspace, guard: Guard, s3: S3Server, clients: list[str]) -> None:
    authority = guard.tls(OPERATOR).ca_certs
    assert authority is not None
    keys = {"access_key": s3.environment["AWS_ACCESS_KEY_ID"], "secret_key": s3.environment["AWS_SECRET_ACCESS_KEY"]}
    files: Mapping[Path, str] = {
        workspace.authority: authority.read_text(),
        workspace.s3_credentials: json.dumps(keys),
        **{workspace.client_token(name): guard.token("client", name) for name in clients},
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
