from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedtier.rounds import RoundStatus
from fedtier.tokens import TokenVerifier, generate_keys
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.seaweed import free_ports
from fedtier_cli.situation import Situation, bar, duration, settings_words, situation_line, situation_table, size
from tests.builders import make_plan, noon
from tests.client.loopback import Reply, Request, serve
from tests.fedtier_cli.federations import THREE, call, json_lines, send
from tests.fedtier_cli.runs import END_SECONDS, environment, fedtier
from tests.masters import Master, publish_initial, rules, store_of, wait_until
from tests.s3_servers import S3Server
from tests.workers import Worker, served


@contextmanager
def master_of(server: S3Server, folder: Path, **changes: Any) -> Iterator[Master]:
    store = store_of(server)
    publish_initial(store, folder)
    with Master(store, folder / "state", rules(**{**THREE, **changes})) as master:
        yield master


@pytest.fixture
def master(s3_server: S3Server, tmp_path: Path) -> Iterator[Master]:
    """A master that is finished after two rounds of two clients."""
    with master_of(s3_server, tmp_path, final_round=2) as master:
        yield master


@contextmanager
def watching(home: Path, *flags: object) -> Iterator[subprocess.Popen[str]]:
    """Run `fedtier status --watch`, which ends with the block at the latest."""
    command = fedtier("status", "--watch", "--every", "0.05", *map(str, flags))
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


# One look


def test_status_shows_the_open_round_and_the_newest_one(master: Master) -> None:
    send(master, ["client-0", "client-1"], 1)
    master.await_round(2)
    send(master, ["client-2"], 2)
    with served(master.app) as (url, _):
        result = call("status", "--server", url)
    base = master.get_round()["base"]
    assert result.exit_code == 0
    assert "round 2 of 2  collecting, attempt" in result.stdout
    assert "[##########..........] 1 of 2 clients counted" in result.stdout
    assert f"round 1, {base['sha256'][:12]}, {base['bytes']} bytes" in result.stdout
    assert "2 clients, 21 examples" in result.stdout
    assert f"{url} is ready" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_programs_get_the_status_as_one_object(master: Master) -> None:
    with served(master.app) as (url, _):
        [document] = json_lines(call("status", "--server", url, "--json"))
    shown = master.get_round()
    for name in ("round", "attempt", "state", "counted", "threshold", "min_clients", "final_round", "client"):
        assert document[name] == shown[name]
    assert document["base"] == {name: shown["base"][name] for name in ("round", "sha256", "bytes")}
    assert (document["ready"], document["obstacle"], document["cohort_size"]) == (True, None, 3)
    assert document["newest"]["sha256"] == shown["base"]["sha256"]


def test_a_worker_tells_what_it_heard(master: Master, tmp_path: Path) -> None:
    send(master, ["client-0", "client-1"], 1)
    master.await_round(2)
    with (
        served(master.app) as (url, _),
        Worker(url, tmp_path / "worker") as worker,
        served(worker.ready().app) as (worker_url, _),
    ):
        [document] = json_lines(call("status", "--server", worker_url, "--json"))
    assert (document["round"], document["newest"]["round"], document["newest"]["clients"]) == (2, 1, 2)


def test_a_worker_that_lost_its_master_cannot_get_on(master: Master, tmp_path: Path) -> None:
    with ExitStack() as held:
        upstream = held.enter_context(ExitStack())
        url, _ = upstream.enter_context(served(master.app))
        worker = held.enter_context(Worker(url, tmp_path / "worker")).ready()
        worker_url, _ = held.enter_context(served(worker.app))
        upstream.close()
        wait_until(lambda: worker.http.get("/readyz").status_code == 503)
        result = call("status", "--server", worker_url)
    assert result.exit_code == 3
    assert f"{worker_url} is not ready: " in " ".join(result.stdout.split())


def test_a_paused_round_cannot_get_on(master: Master) -> None:
    with served(master.app) as (url, _):
        assert call("pause", "--server", url).exit_code == 0
        result = call("status", "--server", url)
    assert result.exit_code == 3
    assert "the master is paused; fedtier resume goes on" in result.stdout


def test_the_master_of_a_local_run_is_found_by_its_run_directory(master: Master, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    federation = Federation(task="t", bucket="b", bucket_key="k.safetensors", test_data="d")
    run.write_federation(federation)
    unknown = call("status", "--run-dir", tmp_path)
    assert unknown.exit_code == 1
    assert "does not say where its master is; name the server by --server URL" in unknown.stderr
    with served(master.app) as (url, _):
        run.write_federation(federation.model_copy(update={"master": url}))
        [document] = json_lines(call("status", "--run-dir", tmp_path, "--json"))
    assert document["server"] == url


def test_a_server_that_is_away_is_one_sentence() -> None:
    result = call("status", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: http://127.0.0.1:1 does not answer")
    assert result.stderr.count("\n") == 1


# Watching


def test_a_watch_prints_what_changes_and_ends_with_the_federation(master: Master, tmp_path: Path) -> None:
    with served(master.app) as (url, _), watching(tmp_path, "--server", url) as watch:
        attempt = master.get_round()["attempt"]
        assert next_line(watch) == f"round 1 attempt {attempt} collecting: 0 of 2 clients counted"
        send(master, ["client-0"], 1)
        assert next_line(watch) == f"round 1 attempt {attempt} collecting: 1 of 2 clients counted"
        call("pause", "--server", url)
        assert next_line(watch).startswith(f"round 1 attempt {attempt} paused: 1 of 2 clients counted; the master is")
        call("resume", "--server", url)
        assert next_line(watch) == f"round 1 attempt {attempt} collecting: 1 of 2 clients counted"
        send(master, ["client-1"], 1)
        master.await_round(2)
        send(master, ["client-0", "client-1"], 2)
        lines, error = watch.communicate(timeout=END_SECONDS)
    assert (watch.returncode, error) == (0, "")
    assert lines.splitlines()[-1].startswith("finished: round 2 is the last, ")


def test_a_watch_waits_for_a_server_that_is_away(master: Master, tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        got = master.http.get(request.path)
        return Reply(got.status_code, got.data, {"Connection": "close"})

    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with watching(tmp_path, "--server", url) as watch:
        assert "does not answer" in (away := next_line(watch))
        assert away.endswith("; asking again")
        with serve(answer, port):
            assert next_line(watch).startswith("round 1 attempt")
        assert f"{url} does not answer" in next_line(watch)
        with serve(answer, port):
            assert next_line(watch).startswith("round 1 attempt")


def test_a_watch_by_a_program_gets_an_object_per_change(master: Master, tmp_path: Path) -> None:
    send(master, ["client-0", "client-1"], 1)
    master.await_round(2)
    send(master, ["client-0", "client-1"], 2)
    master.await_round(3)
    with served(master.app) as (url, _):
        [document] = json_lines(call("status", "--watch", "--server", url, "--json"))
    assert (document["state"], document["obstacle"], document["newest"]["round"]) == ("finished", None, 2)


def test_ctrl_c_ends_a_watch_with_130(master: Master, tmp_path: Path) -> None:
    with served(master.app) as (url, _), watching(tmp_path, "--server", url) as watch:
        next_line(watch)
        watch.send_signal(signal.SIGINT)
        _, error = watch.communicate(timeout=END_SECONDS)
    assert (watch.returncode, error) == (130, "the watching was ended by SIGINT\n")


def test_a_watch_without_the_token_that_is_needed_ends_with_a_sentence(s3_server: S3Server, tmp_path: Path) -> None:
    _, public = generate_keys()
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with (
        Master(store, tmp_path / "state", verifier=TokenVerifier([public])) as master,
        served(master.app) as (url, _),
        watching(tmp_path, "--server", url) as watch,
    ):
        output, error = watch.communicate(timeout=END_SECONDS)
    assert (watch.returncode, output) == (1, "")
    assert "asks for a token, and neither FEDTIER_TOKEN nor FEDTIER_TOKEN_FILE is set; fedtier token" in error
    assert error.count("\n") == 1


def test_a_terminal_gets_a_picture(master: Master, tmp_path: Path) -> None:
    send(master, ["client-0", "client-1"], 1)
    master.await_round(2)
    send(master, ["client-0", "client-1"], 2)
    master.await_round(3)
    ours, theirs = pty.openpty()
    with served(master.app) as (url, _):
        command = fedtier("status", "--watch", "--server", url)
        variables = environment(tmp_path, TERM="xterm", COLUMNS="80")
        with subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            output = _read_all(ours)
    os.close(ours)
    assert process.returncode == 0
    assert "finished, round 2 is the last" in output
    assert f"{url} is ready" in output


def _read_all(descriptor: int) -> str:
    content = b""
    while True:
        try:
            block = os.read(descriptor, 1 << 16)
        except OSError:  # how Linux tells that the other side is closed
            block = b""
        if not block:
            return content.decode()
        content += block


# What is said


def situation(unready: str | None = None, **changes: Any) -> Situation:
    fields = {"state": "collecting", "counted": 0, "poll_after": 1.0, "threshold": 4} | changes
    plan = make_plan()
    plain = {name: getattr(plan, name) for name in type(plan).model_fields}
    return Situation("http://here", RoundStatus(**plain | fields), unready, None, noon())


THREE_CLIENTS = ("client-0", "client-1", "client-2")


@pytest.mark.parametrize(
    ("seen", "obstacle"),
    [
        (situation(), None),
        (situation("the disk is full"), "the disk is full"),
        (situation(state="paused"), "the master is paused; fedtier resume goes on"),
        (situation(cohort=THREE_CLIENTS), "the round needs 4 clients, but selects 3; fedtier close ends it with what"),
        (situation(cohort=THREE_CLIENTS, deadline=noon(1)), None),
        (situation(cohort=THREE_CLIENTS, deadline=noon(1), min_clients=4), "the round needs 4 clients, but selects 3"),
        (situation("gone", state="finished"), None),
        (situation(state="publishing", cohort=THREE_CLIENTS), None),
    ],
)
def test_a_round_that_cannot_get_on_says_why(seen: Situation, obstacle: str | None) -> None:
    assert seen.obstacle is obstacle or (obstacle and seen.obstacle and seen.obstacle.startswith(obstacle))


def test_the_deadline_counts_down_and_beyond() -> None:
    assert situation(deadline=noon(2)).deadline_left == 120
    assert situation(deadline=noon(-1)).deadline_left == -60
    assert situation().deadline_left is None


def table_of(seen: Situation) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(situation_table(seen))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_round_past_its_deadline_without_its_quorum_says_for_how_many_it_stays_open() -> None:
    seen = situation(deadline=noon(-0.2), counted=1, min_clients=3)
    assert "passed 12.0 s ago; stays open for 2 more" in table_of(seen)
    assert situation_line(seen) == (
        "round 1 attempt 1 collecting: 1 of 4 clients counted, at least 3 at the deadline; "
        "its deadline passed, it stays open for 2 more"
    )
    assert seen.document()["stays_open_for"] == 2
    assert seen.obstacle is None


@pytest.mark.parametrize(
    "seen",
    [
        situation(counted=1, min_clients=3),
        situation(deadline=noon(1), counted=1, min_clients=3),
        situation(deadline=noon(-1), counted=3, min_clients=3),
        situation(deadline=noon(-1), counted=1, min_clients=3, state="publishing"),
    ],
)
def test_a_round_that_has_time_or_its_quorum_does_not_stay_open(seen: Situation) -> None:
    assert "stays open" not in table_of(seen) + situation_line(seen)
    assert seen.document()["stays_open_for"] == 0


def test_a_watch_sees_the_deadline_pass() -> None:
    before, after = (situation(deadline=noon(minutes), counted=1, min_clients=2) for minutes in (1, -1))
    assert before.changing != after.changing


def test_numbers_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.04, 59.9, 200, 7500)] == ["0.0 s", "59.9 s", "3 min 20 s", "2 h 5 min"]
    assert [size(count) for count in (304, 1_700_000, 4_200_000_000)] == ["304 bytes", "1.7 MB", "4.2 GB"]
    assert bar(5, 10) == "[##########..........]"
    assert bar(12, 10) == "[####################]"


def test_settings_that_change_nothing_are_not_said() -> None:
    settings = situation().status.client
    assert settings_words(settings) == "1 epoch, batches of 32, sgd lr 0.05, momentum 0.5"
    adam = settings.model_copy(update={"optimizer": "adam", "epochs": 2, "weight_decay": 0.1, "prox_mu": 0.01})
    assert settings_words(adam) == "2 epochs, batches of 32, adam lr 0.05, weight decay 0.1, FedProx mu 0.01"
