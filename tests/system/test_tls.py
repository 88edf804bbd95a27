"""A whole round in which every hop is TLS with tokens, and everybody shows a certificate."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from fedtier.problems import Forbidden, Unauthenticated
from fedtier.tls import Tls
from fedtier.upstream import NotTrusted, Upstream
from tests.authorities import Authority
from tests.s3_servers import S3Server
from tests.system.clients import TASK, write_model
from tests.system.federation import PATIENCE, Federation, environment, fedtier
from tests.system.guards import OPERATOR, Guard
from tests.system.updates import TenUpdates, send

pytestmark = pytest.mark.system


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path, s3_server: S3Server, bucket_key: str, guard: Guard) -> Iterator[Federation]:
    with Federation(tmp_path, s3_server, bucket_key, guard) as federation:
        yield federation


def called(s3: S3Server, variables: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a command and return what came of it."""
    return subprocess.run(
        fedtier(*arguments),
        env=environment(s3, variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_round_over_tls_with_certificates_and_tokens_on_every_hop_has_the_bytes_of_the_definition(
    guarded: Federation, guard: Guard, s3_server: S3Server, ten_updates: TenUpdates
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10", "--rounds", "1")
    top = guarded.worker("top", upstream=master.url)
    edges = [guarded.worker(name, upstream=top.url) for name in ("left", "right")]
    assert all(aggregator.url.startswith("https://") for aggregator in (master, top, *edges))

    for number, update in enumerate(ten_updates.updates):
        receipt = send(edges[number % 2].url, update, 1, guard)
        assert receipt.sha256 == update.sha256

    assert ten_updates.are_exactly_in(master.published(1))
    operator = guard.caller("operator", OPERATOR)
    status = called(s3_server, operator, "status", "--server", master.url)
    assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "finished"), status.stderr
    paused = called(s3_server, operator, "pause", "--server", master.url)
    assert (paused.returncode, json.loads(paused.stdout)["server"]) == (0, master.url), paused.stderr


@pytest.mark.parametrize("tls", [True, False])
def test_a_client_trains_where_it_is_asked_who_it_is(
    tls: bool, tmp_path: Path, s3_server: S3Server, bucket_key: str
) -> None:
    with Federation(tmp_path, s3_server, bucket_key, Guard(tmp_path, tls=tls)) as federation:
        master = federation.master(write_model(tmp_path), "--threshold", "1", "--rounds", "1")
        edge = federation.worker("edge", upstream=master.url)
        (tmp_path / "data").mkdir()
        client = federation.client("client-3", "--data", str(tmp_path / "data"), "--task", TASK, server=edge.url)

        assert client.wait() == 0, client.log_end()
        assert [one.client_id for one in master.published(1).contributors] == ["client-3"]


def test_who_cannot_show_who_they_are_is_refused_and_health_is_open(
    guarded: Federation, guard: Guard, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10")
    update, token = ten_updates.updates[3], guard.token("client", "client-3")
    own, other = guard.tls("client-3"), guard.tls("client-4")
    path = "/v1/rounds/1/updates/client-3"

    with Upstream(master.url, tls=own) as upstream, pytest.raises(Unauthenticated):
        upstream.put_file(path, update.path, sha256=update.sha256)
    with (
        Upstream(master.url, token=lambda: token, tls=other) as upstream,
        pytest.raises(Forbidden, match="the token is for 'client-3', and the certificate for 'client-4'"),
    ):
        upstream.put_file(path, update.path, sha256=update.sha256)
    unnamed = Tls(ca_certs=own.ca_certs)
    with (
        Upstream(master.url, token=lambda: token, tls=unnamed) as upstream,
        pytest.raises(Forbidden, match="also wants a certificate that says so: give one by --certfile"),
    ):
        upstream.put_file(path, update.path, sha256=update.sha256)
    strange = Tls(*Authority(tmp_path / "strange").pair(common="client-3"), own.ca_certs)
    with (
        Upstream(master.url, token=lambda: token, tls=strange) as upstream,
        pytest.raises(NotTrusted, match="does not know the authority that signed this program's certificate"),
    ):
        upstream.round_status()

    for health in ("/healthz", "/readyz"):
        assert requests.get(master.url + health, verify=str(own.ca_certs), timeout=PATIENCE).status_code == 200
    assert master.status().counted == 0


@pytest.mark.parametrize("program", ["client", "status"])
def test_a_program_that_does_not_believe_its_server_says_so_at_once(
    program: str, guarded: Federation, guard: Guard, s3_server: S3Server, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10")
    authority = Authority(tmp_path / "strange").certificate
    variables = {**guard.caller("client", "client-3"), "FEDTIER_CA_CERTS": str(authority)}
    flags = {
        "client": ["--client-id", "client-3", "--data", str(tmp_path), "--task", TASK, "--state-dir", str(tmp_path)],
        "status": [],
    }

    done = called(s3_server, variables, program, "--server", master.url, *flags[program])

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: the certificate of {master.url} is not signed by an authority that is trusted here")
    assert last.endswith("--ca-certs")


def test_a_worker_goes_on_asking_a_master_that_it_does_not_believe_until_it_does(
    guarded: Federation, guard: Guard, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10")
    believed = guard.tls(OPERATOR).ca_certs
    assert believed is not None
    ours = believed.read_bytes()
    believed.write_bytes(Authority(tmp_path / "strange").certificate.read_bytes())
    edge = guarded.worker("edge", upstream=master.url, ready=False)

    edge.process.wait_until(
        lambda: any("not signed by an authority" in lost["reason"] for lost in edge.events("the upstream is lost")),
        "the worker says why it is not ready",
    )
    believed.write_bytes(ours)
    edge.wait_until_ready()


def test_the_signal_by_which_others_read_their_certificates_again_does_no_harm(
    guarded: Federation, ten_updates: TenUpdates
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10")
    serving = master.serving_pid
    master.process.signal(signal.SIGHUP)
    master.process.wait_until(
        lambda: bool(master.events("SIGHUP changes nothing: certificates are read again when they change")),
        "the master says that it got it",
    )
    assert master.status().round == 1
    assert master.serving_pid == serving


def test_a_refusal_reaches_a_client_that_still_sends(
    guarded: Federation, guard: Guard, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    master = guarded.master(ten_updates.model, "--threshold", "10")
    body = tmp_path / "large"
    with body.open("wb") as file:
        file.truncate(64 << 20)
    with guard.upstream(master.url, "client", "client-3") as upstream:
        for _ in range(5):
            with pytest.raises(Forbidden, match="the token is for 'client-3', not for 'client-4'"):
                upstream.put_file("/v1/rounds/1/updates/client-4", body, sha256="0" * 64)
