"""`secrets.sh`: whom certificates are for, what is remembered, what a cluster is given, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from fedtier_cli.authority import names_of
from tests.infra.kubernetes.api_server import api_server
from tests.infra.kubernetes.secrets_made import secrets_script

INSIDE = frozenset({".fedtier", ".fedtier.svc", ".fedtier.svc.cluster.local", ""})


def done(*words: str | Path, kubeconfig: Path | None = None) -> str:
    ended = secrets_script(*words, kubeconfig=kubeconfig)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def names(folder: Path, server: str) -> frozenset[str]:
    return names_of(x509.load_pem_x509_certificate((folder / "servers" / f"{server}.pem").read_bytes()))


def test_certificates_are_for_every_name_inside_and_for_a_forwarded_port(tmp_path: Path) -> None:
    done("--print", "--folder", tmp_path / "kept")
    for server in ("master-aggregator", "worker-aggregator", "s3"):
        inside = {f"{server}{ending}" for ending in INSIDE}
        assert names(tmp_path / "kept", server) == inside | {"localhost", "127.0.0.1"}


def test_names_for_clients_outside_are_the_workers_alone_and_are_remembered(tmp_path: Path) -> None:
    outside = {"192.0.2.7", "fed.example.org"}
    done("--print", "--folder", tmp_path / "kept", "--name", "192.0.2.7", "--name=fed.example.org")
    assert outside < names(tmp_path / "kept", "worker-aggregator")
    assert not outside & names(tmp_path / "kept", "master-aggregator")
    done("--print", "--folder", tmp_path / "kept")
    assert outside < names(tmp_path / "kept", "worker-aggregator")
    done("--print", "--folder", tmp_path / "kept", "--name", "new.example.org")
    assert "new.example.org" in names(tmp_path / "kept", "worker-aggregator")
    assert not outside & names(tmp_path / "kept", "worker-aggregator")


def test_a_cluster_is_given_namespace_and_secrets_without_a_second_copy_of_them(tmp_path: Path) -> None:
    with api_server(tmp_path) as (api, kubeconfig):
        done("--overlay", "eks", "--clients", "2", "--folder", tmp_path / "kept", kubeconfig=kubeconfig)
        labels = api.objects["/api/v1/namespaces/fedtier"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert set(api.secrets["client-tokens"]["data"]) == {"client-0.token", "client-1.token"}
        assert set(api.secrets) == {
            *("authority", "client-tokens", "master-aggregator-tls", "verify-keys"),
            *("worker-aggregator-tls", "worker-token"),
        }
        for name, secret in api.secrets.items():
            assert not secret["metadata"].get("annotations"), name
        assert {said["fieldManager"] for _, said in api.applied} == {"fedtier-secrets"}


def test_a_namespace_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    with api_server(tmp_path) as (api, kubeconfig):
        there = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fedtier", "labels": {"own": "label"}}}
        api.objects["/api/v1/namespaces/fedtier"] = there
        done("--folder", tmp_path / "kept", kubeconfig=kubeconfig)
        assert api.objects["/api/v1/namespaces/fedtier"] == there
        assert "s3-identity" in api.secrets


def test_to_print_needs_no_cluster_and_leaves_nothing_but_the_folder(tmp_path: Path) -> None:
    printed = done("--print", "--folder", tmp_path / "kept")
    assert printed.startswith("---\n")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--clients", "0"], "Error: --clients is 0, wanted a number from 1 on"),
        (["--clients", "many"], "Error: --clients is many, wanted a number from 1 on"),
        (["--clients"], "Error: --clients needs a value"),
        (["--overlay", "gke"], "Error: --overlay is gke, wanted minikube or eks"),
        (["--federation", "../other"], "Error: --federation ../other cannot be the name of a folder"),
        (["--name", "one,two"], "Error: --name one,two is no name or address of a machine"),
        (["minikube"], "Error: minikube is no argument of secrets.sh; see --help"),
    ],
)
def test_what_cannot_be_gets_one_sentence_and_makes_nothing(words: list[str], sentence: str, tmp_path: Path) -> None:
    ended = secrets_script("--folder", tmp_path / "kept", *words)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (1, "", sentence)
    assert not (tmp_path / "kept").exists()
