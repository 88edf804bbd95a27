"""What `verify-cluster.sh` runs in pods finds out what it is to find out, of servers that run here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.infra.programs import CHECKOUT
from tests.s3_servers import S3Server
from tests.system.federation import Federation, environment
from tests.system.guards import OPERATOR, Guard
from tests.system.updates import TenUpdates, make_ten_updates, send

_FUNCTIONS: Final = CHECKOUT / "infra" / "kubernetes"
_KUBECTL: Final = Path(__file__).with_name("here_kubectl.py")
_CALL: Final = f'source "{_FUNCTIONS}/verify-points.sh"; source "{_FUNCTIONS}/verify-rounds.sh"; "$@"'
_IN_CLUSTER: Final = 'in_cluster() { kubectl "$@"; }; k() { kubectl "$@"; }; '


class TokensOnly(Guard):
    """As in Kubernetes: TLS and tokens, and nobody is asked for a certificate."""

    def server(self, name: str, host: str) -> dict[str, str]:
        given = super().server(name, host)
        return {variable: value for variable, value in given.items() if variable != "FEDTIER_REQUIRE_CLIENT_CERTS"}


class Pods:
    """A master and a worker that pass for pods.

    Parameters
    ----------
    federation : Federation
    guard : Guard
    s3 : S3Server
    updates : TenUpdates
        Of which two make the only round.
    """

    def __init__(self, federation: Federation, guard: Guard, s3: S3Server, updates: TenUpdates) -> None:
        self.guard = guard
        self.updates = updates
        master = federation.master(updates.model, "--clients", "2", "--rounds", "1")
        self.worker = federation.worker("worker", upstream=master.url)
        self._s3 = s3
        self._host = federation.host
        place = {"FEDTIER_BUCKET_NAME": s3.bucket, "FEDTIER_BUCKET_KEY": federation.bucket_key, "FEDTIER_JSON": "1"}
        trust = {"FEDTIER_CA_CERTS": str(guard.tls(OPERATOR).ca_certs)}
        self._environments = {
            "master-aggregator-0": place | trust | {"FEDTIER_PORT": str(urlsplit(master.url).port)},
            "worker-aggregator-a": trust | {"FEDTIER_PORT": str(urlsplit(self.worker.url).port)},
            "probe-client": {},
        }
        self.scratch = federation.folder / "scratch"
        tokens = self.scratch / "credentials" / "tokens"
        tokens.mkdir(parents=True)
        (tokens / "operator.token").write_text(guard.token("operator", OPERATOR) + "\n")
        self._programs = federation.folder / "bin"
        self._programs.mkdir()
        kubectl = self._programs / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_KUBECTL}" "$@"\n')
        kubectl.chmod(0o755)

    def call(self, *words: str, clients: int = 2) -> subprocess.CompletedProcess[str]:
        """Call a function of the scripts."""
        places = [str(self._programs), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        port = str(urlsplit(self.worker.url).port)
        variables = {
            "PATH": os.pathsep.join(places),
            "scratch": str(self.scratch),
            "patience": "120",
            "every": "1",
            "POD_ENVIRONMENTS": json.dumps(self._environments),
            "POD_WORDS": json.dumps({"worker-aggregator": self._host, "127.0.0.1": self._host, "5001": port}),
            "POD_COMPLETIONS": str(clients),
        }
        return subprocess.run(
            ["bash", "-euc", _IN_CLUSTER + _CALL, "call", *words],
            env=environment(self._s3, variables),
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self, *words: str) -> str:
        """Return what a function prints that goes well."""
        done = self.call(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def is_so(self, *words: str) -> bool:
        """Return whether a function says yes."""
        return self.call(*words).returncode == 0


@pytest.fixture
def pods(tmp_path: Path, s3_server: S3Server) -> Iterator[Pods]:
    """They have nothing counted yet."""
    guard = TokensOnly(tmp_path / "guard")
    key = f"tests/{uuid.uuid4().hex}/model.safetensors"
    with Federation(tmp_path, s3_server, key, guard) as federation:
        yield Pods(federation, guard, s3_server, make_ten_updates(tmp_path))


def test_a_round_is_seen_to_be_open_half_counted_and_published_whole(pods: Pods) -> None:
    assert pods.said("standing") == "1 0 0 2 collecting"
    assert not pods.is_so("is_mid_round")
    send(pods.worker.url, pods.updates.updates[0], 1, pods.guard)
    assert pods.said("standing") == "1 0 1 2 collecting"
    assert pods.is_so("is_mid_round")
    assert (pods.scratch / "round").read_text() == "1\n"
    assert not pods.is_so("is_published", "1")
    assert not pods.is_so("round_is_whole", "1")

    send(pods.worker.url, pods.updates.updates[1], 1, pods.guard)

    assert pods.is_so("eventually", "is_published", "1")
    assert pods.said("round_is_whole", "1") == ""
    assert pods.is_so("is_finished")
    assert not pods.is_so("is_published", "2")
    missing = pods.call("round_is_whole", "1", clients=3)
    assert (missing.returncode, "counted were ['client-0', 'client-1']" in missing.stderr) == (1, True)


def test_requests_are_counted_at_the_worker_that_got_them(pods: Pods) -> None:
    before = int(pods.said("times_asked", "worker-aggregator-a", "openapi.json"))
    pods.said("ask_workers", "7")
    assert int(pods.said("times_asked", "worker-aggregator-a", "openapi.json")) == before + 7


def test_what_can_be_reached_is_told_from_what_cannot_and_from_what_has_no_name(pods: Pods) -> None:
    assert pods.said("connect", "fedtier", "probe-client", "worker-aggregator", "5001") == "reached"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert pods.said("connect", "fedtier", "probe-client", "localhost", str(unused.getsockname()[1])) == "denied"
    nobody = pods.call("connect", "fedtier", "probe-client", "nobody.invalid", "5001")
    assert (nobody.returncode, "gaierror" in nobody.stderr) == (1, True)
