"""Real programs of all three tiers are scraped, and say what the manifest says."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import requests

from tests.s3_servers import S3Server
from tests.scrapes import Scrape
from tests.system.clients import TASK, Client, write_model
from tests.system.federation import PATIENCE, Aggregator, Federation, Process, environment, fedtier

pytestmark = pytest.mark.system

SCRAPED = ("--metrics-port", "0")


def logged(process: Process, event: str) -> list[str]:
    return [line for line in process.log.read_text().splitlines() if f'"event": "{event}"' in line]


def scrape(process: Process) -> Scrape:
    """Scrape a program on the port of its own that it logged."""
    process.wait_until(lambda: bool(logged(process, "metrics served")), f"{process.name} serves metrics")
    url = logged(process, "metrics served")[-1].split('"url": "')[1].split('"')[0]
    return Scrape(requests.get(url, timeout=PATIENCE).text)


def test_three_tiers_say_what_the_manifest_says(federation: Federation, tmp_path: Path) -> None:
    master = federation.master(write_model(tmp_path), "--threshold", "2", *SCRAPED)
    worker = federation.worker("worker", *SCRAPED, upstream=master.url)
    clients = [Client(federation, f"client-{number}") for number in range(2)]
    for client in clients:
        client.keep_in_training(2)
        client.start(worker.url, *SCRAPED)
    manifest = master.published(1)
    for client in clients:
        client.await_training(2)
    worker.wait_for_round(2)

    programs = [master.process, worker.process, *(client.process for client in clients)]
    shown = {program.name: scrape(program) for program in programs}
    for name in ("master", "worker"):
        seen = shown[name]
        assert seen("contributors_total") == len(manifest.contributors) == 2, name
        assert (seen("round"), seen("attempt")) == (2, manifest.attempt + 1), name
        assert seen("batch_contributors_sum") == 2, name
        assert (seen("transfer_slots"), seen("transfer_slots_used")) == (64, 0), name
        assert (seen("counted_clients"), seen("threshold_clients")) == (0, 2), name
        assert seen.reasons("refusals_total").keys() <= {"not-found", "round-not-open"}, name
    assert shown["worker"].uploads("update") == {"counted": 2}
    assert shown["master"].uploads("partial") == {"counted": shown["worker"]("batches_total", outcome="counted")}
    assert shown["master"]("received_bytes_total", content="partial") == shown["worker"]("partial_bytes_sum")
    assert shown["master"]("round_seconds_count") == 1
    assert shown["worker"]("received_bytes_total", content="model") == manifest.base.bytes + manifest.model.bytes
    for contributor in manifest.contributors:
        seen = shown[contributor.client_id]
        assert seen("trained_examples_total") == contributor.num_examples
        assert seen.uploads("update") == {"counted": 1}
        assert (seen("round"), seen("counted_clients")) == (2, 0)
    sent = sum(shown[client.client_id]("sent_bytes_total", content="update") for client in clients)
    assert sent == shown["worker"]("received_bytes_total", content="update")
    assert Scrape(master.get("/metrics").text)("contributors_total") == 2  # without keys the own port shows them too

    for client in clients:
        client.process.signal(signal.SIGTERM)
    assert [program.wait() for program in programs[2:]] == [0, 0]
    assert [worker.stop(), master.stop()] == [0, 0]


def started_on_a_taken_port(tier: str, aggregator: Aggregator, tmp_path: Path, s3_server: S3Server) -> tuple[int, str]:
    """Start a program whose metrics are to be where an aggregator listens; return its status and what it says."""
    place = {
        "worker": ("--master", aggregator.url, "--port", "0", "--state-dir", str(tmp_path / "second")),
        "client": ("--server", aggregator.url, "--client-id", "a", "--data", str(tmp_path), "--task", TASK),
    }[tier]
    taken = ("--metrics-host", aggregator.host, "--metrics-port", str(aggregator.port))
    ended = subprocess.run(
        fedtier(tier, *place, *taken),
        cwd=tmp_path,
        env=environment(s3_server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("tier", ["worker", "client"])
def test_a_taken_port_is_one_clear_sentence(
    federation: Federation, tmp_path: Path, s3_server: S3Server, tier: str
) -> None:
    master = federation.master(write_model(tmp_path), "--threshold", "2")
    status, said = started_on_a_taken_port(tier, master, tmp_path, s3_server)
    assert status != 0
    sentence = f"Error: metrics cannot be served on {master.host}:{master.port}: Address already in use"
    assert sentence in said
    assert "Traceback" not in said
