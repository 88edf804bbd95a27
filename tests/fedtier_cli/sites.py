"""Federations on other machines, as their inventories would describe them; nothing of them is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedtier_cli.deploying.site import Site


def site(tmp_path: Path, *clients: str, **members: Any) -> Site:
    """A federation of a lab: a host for the servers, and one for each client."""
    names = clients or ("client-0", "client-1", "client-2")
    hosts: dict[str, Any] = {
        "lab-0": {"address": "192.0.2.10", "ssh": {"host": "192.0.2.10"}, "groups": ["worker_aggregators"]}
    }
    for number, name in enumerate(names, 1):
        address = f"192.0.2.{10 + number}"
        hosts[f"lab-{number}"] = {
            "address": address,
            "ssh": {"host": address, "user": "ubuntu"},
            "groups": ["clients"],
            "client_ids": [name],
        }
    document = {
        "federation": "lab",
        "server_url": "https://192.0.2.10:8443",
        "master_url": "https://192.0.2.10:5000",
        "bucket_name": "fedtier",
        "bucket_key": "jobs/mnist_cnn.safetensors",
        "task": "mnist_cnn",
        "threshold": len(names),
        "aws": {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "https://192.0.2.10:8333"},
        "secrets_dir": str(tmp_path / "secrets"),
        "hosts": hosts,
    }
    return Site.model_validate({**document, **members})
