import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import benchmarks.barrier
from benchmarks.barrier import Barrier, arrive
from tests.masters import wait_until

PARTY = f"""
import runpy, sys
runpy.run_path({benchmarks.barrier.__file__!r})["arrive"](sys.argv[1], sys.argv[2])
"""


def test_processes_that_only_know_the_file_wait_until_all_are_let_go(tmp_path: Path) -> None:
    before = time.monotonic()
    with Barrier(2) as barrier:
        parties = [
            subprocess.Popen([sys.executable, "-I", "-c", PARTY, barrier.address, name], cwd=tmp_path)
            for name in ("a", "b")
        ]
        arrivals = barrier.await_arrivals(60)
        assert [party.poll() for party in parties] == [None, None]
        released = barrier.release()
        assert [party.wait(60) for party in parties] == [0, 0]
    assert set(arrivals) == {"a", "b"}
    assert all(before < arrived < released for arrived in arrivals.values())


def test_who_is_missing_can_be_waited_for_again() -> None:
    with Barrier(2) as barrier:
        first = party(barrier, "first")
        wait_until(lambda: "first" in barrier.here)
        with pytest.raises(TimeoutError, match=r"1 of 2 arrived within 0 s: first"):
            barrier.await_arrivals(0)
        second = party(barrier, "second")
        assert set(barrier.await_arrivals(60)) == {"first", "second"}
        barrier.release()
        first.join(60)
        second.join(60)
        assert not first.is_alive()
        assert not second.is_alive()


def test_the_same_parties_meet_again() -> None:
    with Barrier(1) as barrier:
        released = 0.0
        for _ in range(3):
            one = party(barrier, "one")
            assert barrier.await_arrivals(60)["one"] > released
            released = barrier.release()
            one.join(60)
            assert not one.is_alive()


def test_of_several_who_play_one_party_only_the_first_of_a_turn_waits() -> None:
    with Barrier(1) as barrier:
        first = party(barrier, "one", turn=1)
        barrier.await_arrivals(60)
        barrier.release()
        first.join(60)
        arrive(barrier.address, "one", turn=1)  # would wait for ever
        next_turn = party(barrier, "one", turn=2)
        barrier.await_arrivals(60)
        assert next_turn.is_alive()
        barrier.release()
        next_turn.join(60)
        assert not next_turn.is_alive()


def test_a_party_that_was_started_again_counts_once() -> None:
    with Barrier(2) as barrier:
        lost = stranger_of(barrier)
        lost.sendall(json.dumps({"name": "one", "arrived": 1.0, "turn": None}).encode() + b"\n")
        wait_until(lambda: barrier.here == {"one"})
        again = party(barrier, "one")
        assert lost.recv(1) == b""
        with pytest.raises(TimeoutError, match="1 of 2"):
            barrier.await_arrivals(0)
        other = party(barrier, "other")
        assert barrier.await_arrivals(60)["one"] > 1.0
        barrier.release()
        again.join(60)
        other.join(60)
        lost.close()


def test_nonsense_is_nobody() -> None:
    with Barrier(1) as barrier, stranger_of(barrier) as stranger:
        stranger.sendall(b"hello\n")
        assert stranger.recv(1) == b""
        with pytest.raises(TimeoutError, match="nobody"):
            barrier.await_arrivals(0.1)


def test_a_party_whose_barrier_ends_is_told_so() -> None:
    told: list[BaseException] = []

    def come(address: str) -> None:
        try:
            arrive(address, "one")
        except ConnectionError as error:
            told.append(error)

    with Barrier(1) as barrier:
        one = threading.Thread(target=come, args=(barrier.address,))
        one.start()
        barrier.await_arrivals(60)
    wait_until(lambda: bool(told))
    one.join(60)


def stranger_of(barrier: Barrier) -> socket.socket:
    host, _, port = barrier.address.partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(60)
    return connection


def party(barrier: Barrier, name: str, turn: int | None = None) -> threading.Thread:
    thread = threading.Thread(target=arrive, args=(barrier.address, name, turn), daemon=True)
    thread.start()
    return thread
