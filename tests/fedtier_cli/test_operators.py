from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtier.tokens import Role, TokenVerifier, generate_keys
from tests.builders import trained, update_bytes
from tests.fedtier_cli.federations import call, json_lines, send
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server
from tests.tokens import signed
from tests.workers import Worker, served

PRIVATE, PUBLIC = generate_keys()


def token(role: Role, key: bytes = PRIVATE) -> str:
    return signed(key, role, "somebody")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDTIER_TOKEN", raising=False)


@pytest.fixture
def served_master(s3_server: S3Server, tmp_path: Path) -> Iterator[tuple[Master, str]]:
    """A master of rounds that close at three clients, and its address."""
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=3, min_clients=2)) as master, served(master.app) as (url, _):
        yield master, url


@pytest.fixture
def guarded_url(s3_server: S3Server, tmp_path: Path) -> Iterator[str]:
    """The address of a master that asks for tokens."""
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with (
        Master(store, tmp_path / "state", verifier=TokenVerifier([PUBLIC])) as master,
        served(master.app) as (url, _),
    ):
        yield url


def test_a_paused_master_takes_no_uploads_until_it_is_resumed(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    update = update_bytes(trained(1))
    paused = call("pause", "--server", url)
    assert (paused.exit_code, paused.stdout) == (0, "round 1 is paused: 0 of 3 clients counted\n")
    assert master.send_update("client-0", update).status_code == 503

    resumed = call("resume", "--server", url)
    assert (resumed.exit_code, resumed.stdout) == (0, "round 1 is collecting: 0 of 3 clients counted\n")
    assert master.send_update("client-0", update).status_code == 200


def test_a_round_is_closed_with_what_is_counted(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    send(master, ["client-0", "client-1"], 1)
    result = call("close", 1, "--server", url)
    assert result.exit_code == 0
    assert result.stdout.startswith("round 1 is closed ")
    master.await_round(2)
    assert master.get_round()["base"]["round"] == 1


def test_a_round_with_too_few_clients_closes_when_they_are_there(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    send(master, ["client-0"], 1)
    result = call("close", 1, "--server", url)
    assert result.exit_code == 0
    assert result.stdout == "round 1 closes as soon as 2 clients are counted; 1 counted now\n"
    send(master, ["client-1"], 1)
    master.await_round(2)


def test_whichever_round_is_open_is_named_before_it_is_closed(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    send(master, ["client-0", "client-1"], 1)
    result = call("close", "--open", "--server", url)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"round 1 is open at {url}\nround 1 is closed ")


@pytest.mark.parametrize("flags", [[], ["1", "--open"], ["0"], ["one"]])
def test_a_close_that_does_not_say_what_is_a_wrong_call(served_master: tuple[Master, str], flags: list[str]) -> None:
    master, url = served_master
    assert call("close", *flags, "--server", url).exit_code == 2
    assert master.get_round()["state"] == "collecting"


def test_another_round_than_the_open_one_is_not_closed(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    send(master, ["client-0", "client-1"], 1)
    result = call("close", 2, "--server", url)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {url} refuses: round 1 is open, not 2\n"
    assert master.get_round()["state"] == "collecting"


def test_programs_get_the_state_afterwards_as_one_object(served_master: tuple[Master, str]) -> None:
    master, url = served_master
    attempt = master.get_round()["attempt"]
    [facts] = json_lines(call("pause", "--server", url, "--json"))
    wanted = {"server": url, "round": 1, "attempt": attempt, "state": "paused"}
    assert facts == wanted | {"counted": 0, "threshold": 3, "min_clients": 2}


@pytest.mark.parametrize("command", [["pause"], ["resume"], ["close", "1"]])
def test_operators_need_their_token(guarded_url: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    advice = "fedtier token --role operator --subject NAME signs one for FEDTIER_TOKEN or FEDTIER_TOKEN_FILE"
    foreign, _ = generate_keys()
    wrong = {
        None: f"{guarded_url} asks for a token, and neither FEDTIER_TOKEN nor FEDTIER_TOKEN_FILE is set; {advice}",
        token("client"): f"{guarded_url} does not allow this: the token's role is 'client', and this needs operator",
        token("operator", foreign): f"{guarded_url} does not take the token in FEDTIER_TOKEN: ",
    }
    for presented, sentence in wrong.items():
        if presented is not None:
            monkeypatch.setenv("FEDTIER_TOKEN", presented)
        result = call(*command, "--server", guarded_url)
        assert result.exit_code == 1
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1

    monkeypatch.setenv("FEDTIER_TOKEN", token("operator"))
    assert call(*command, "--server", guarded_url).exit_code == 0


def test_a_worker_does_not_pass_operators_on_and_says_so(served_master: tuple[Master, str], tmp_path: Path) -> None:
    master, url = served_master
    with Worker(url, tmp_path / "worker") as worker, served(worker.ready().app) as (worker_url, _):
        result = call("pause", "--server", worker_url)
    assert result.exit_code == 1
    assert "name a fedtier master by --server" in result.stderr
    assert master.get_round()["state"] == "collecting"


def test_a_master_that_is_away_is_one_sentence() -> None:
    result = call("pause", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1 does not answer" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_no_address_is_one_sentence() -> None:
    result = call("resume", "--server", "127.0.0.1:5000")
    assert result.exit_code == 1
    assert "write it as http://host:port" in result.stderr
