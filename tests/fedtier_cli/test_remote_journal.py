from __future__ import annotations

import json
from typing import Any

import pytest

from fedtier_cli.remote_journal import Journal

UNIT = "fedtier-client@client-3.service"
EXIT = "98e322203f7a4ed290d09fe03c09fe15"


def entry(message: object, cursor: str = "s=1;i=2", **fields: Any) -> bytes:
    return json.dumps({"__CURSOR": cursor, "MESSAGE": message, **fields}).encode()


def said(fact: dict[str, Any], cursor: str = "s=1;i=2", unit: str = UNIT) -> bytes:
    return entry(json.dumps(fact), cursor, _SYSTEMD_UNIT=unit)


@pytest.fixture
def journal() -> Journal:
    """One that is listened to already."""
    journal = Journal(["client-3", "client-4"])
    journal.connect()
    assert journal.read(entry("what was before", "s=1;i=1", _SYSTEMD_UNIT=UNIT)) == [{"event": "following"}]
    return journal


def test_all_clients_of_a_host_and_its_first_process_are_listened_to() -> None:
    call = Journal(["client-3", "client-4"]).connect()
    assert call[:2] == ["journalctl", "--follow"]
    assert call[-4:] == [
        "_PID=1",
        "+",
        "_SYSTEMD_UNIT=fedtier-client@client-3.service",
        "_SYSTEMD_UNIT=fedtier-client@client-4.service",
    ]


def test_what_a_client_says_is_a_fact_under_its_own_name(journal: Journal) -> None:
    fact = {"event": "counted", "client_id": "client-9", "round": 2, "attempt": 1}
    assert journal.read(said(fact)) == [{**fact, "client_id": "client-3"}]


def test_the_log_of_a_client_and_what_its_task_prints_are_no_facts(journal: Journal) -> None:
    logged = json.dumps({"event": "finished", "ok": False, "level": "error"})
    assert journal.read(entry(logged, _SYSTEMD_UNIT=UNIT)) == [b"client-3: " + logged.encode() + b"\n"]
    assert journal.read(entry("Traceback", _SYSTEMD_UNIT=UNIT)) == [b"client-3: Traceback\n"]


def test_a_line_that_is_no_plain_text_is_kept_as_its_bytes(journal: Journal) -> None:
    assert journal.read(entry(list(b"\x1b[1mloud\xff"), _SYSTEMD_UNIT=UNIT)) == [b"client-3: \x1b[1mloud\xff\n"]
    assert journal.read(entry(None, _SYSTEMD_UNIT=UNIT)) == [b"client-3: \n"]


@pytest.mark.parametrize(("code", "status"), [("exited", 1), ("killed", 9)])
def test_how_a_client_ended_that_could_not_say_so_is_a_fact(journal: Journal, code: str, status: int) -> None:
    fields = {"MESSAGE_ID": EXIT, "UNIT": UNIT, "_SYSTEMD_UNIT": "init.scope"}
    line, fact = journal.read(entry("Main process ended", **fields, EXIT_CODE=code, EXIT_STATUS=str(status)))
    assert line == b"client-3: Main process ended\n"
    assert fact == {"event": "exited", "client_id": "client-3", "code": code, "status": status}


def test_a_client_cannot_say_that_another_ended(journal: Journal) -> None:
    forged = entry("x", MESSAGE_ID=EXIT, UNIT="fedtier-client@client-4.service", _SYSTEMD_UNIT=UNIT)
    assert journal.read(forged) == [b"client-3: x\n"]


def test_other_units_are_not_kept(journal: Journal) -> None:
    assert journal.read(entry("Started sshd", UNIT="ssh.service", _SYSTEMD_UNIT="init.scope")) == []


def test_what_is_no_entry_is_kept_in_the_log(journal: Journal) -> None:
    assert journal.read(b"-- Boot 7f --\n") == [b"-- Boot 7f --\n"]


def test_a_journal_goes_on_behind_what_was_read_last(journal: Journal) -> None:
    fact = {"event": "training", "client_id": "client-3"}
    journal.read(said(fact, "s=1;i=7"))
    assert "--cursor=s=1;i=7" in journal.connect()
    assert journal.read(said(fact, "s=1;i=7")) == [{"event": "following"}]
    assert journal.read(said(fact, "s=1;i=8")) == [fact]


def test_nothing_is_skipped_where_a_reboot_took_what_was_read_last(journal: Journal) -> None:
    fact = {"event": "training", "client_id": "client-3"}
    journal.connect()
    assert journal.read(said(fact, "s=2;i=1")) == [{"event": "following"}, fact]
