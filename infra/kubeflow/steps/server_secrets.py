"""The Secrets of a run's servers, of the files that ``fedtier credentials`` makes. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.kubeflow.steps.objects import MASTER, PORTS, S3, WORKER, Object, RunSettings, metadata

_AWS: Final = "AWS"
"""Stands for the pair of keys of S3 as AWS' tools read it, of which there is no file."""
_S3_JSON: Final = "s3.json"


@dataclass(frozen=True, slots=True)
class _Secret:
    """A Secret that every run has.

    Parameters
    ----------
    component : str
        Whose it is.
    name : str
        Behind the run's own.
    files : Mapping of str to str
        By key, the file of `fedtier credentials` in it.
    kind : str
    """

    component: str
    name: str
    files: Mapping[str, str]
    kind: str = "Opaque"


def _tls(component: str) -> _Secret:
    files = {"tls.crt": f"servers/{component}.pem", "tls.key": f"servers/{component}-key.pem"}
    return _Secret(component, f"{component}-tls", files, "kubernetes.io/tls")


_SECRETS: Final[Sequence[_Secret]] = (
    _Secret(MASTER, "authority", {"ca.pem": "authority/ca.pem"}),
    _Secret(MASTER, "verify-keys", {"verify-key.pem": "keys/verify-key.pem"}),
    _Secret(MASTER, "s3-credentials", {"credentials": _AWS}),
    _Secret(WORKER, "worker-token", {"token": f"tokens/worker-{WORKER}.token"}),
    _Secret(S3, "s3-identity", {"s3.json": _S3_JSON}),
    *(_tls(component) for component in PORTS),
)


def secret_names(run: str) -> list[str]:
    """Return the names of a run's Secrets: to delete these, nobody needs the right to list a namespace's."""
    return [f"{run}-{one.name}" for one in _SECRETS]


def secret_files() -> list[str]:
    """Return the files that `secrets` needs, as they are called in the folder; none that signs is among them."""
    return sorted({file for one in _SECRETS for file in one.files.values()} - {_AWS})


def secrets(settings: RunSettings, files: Mapping[str, bytes]) -> list[Object]:
    """Return the Secrets of a run's servers.

    Parameters
    ----------
    settings : RunSettings
    files : Mapping of str to bytes
        What is in each of `secret_files`.
    """
    held = {**files, _AWS: _aws_credentials(files[_S3_JSON])}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(settings, one.component, f"{settings.run}-{one.name}"),
            "type": one.kind,
            "data": {key: base64.b64encode(held[file]).decode() for key, file in one.files.items()},
        }
        for one in _SECRETS
    ]


def _aws_credentials(s3_json: bytes) -> bytes:
    pair = json.loads(s3_json)
    lines = (
        "[default]",
        f"aws_access_key_id = {pair['access_key']}",
        f"aws_secret_access_key = {pair['secret_key']}",
        "",
    )
    return "\n".join(lines).encode()
