from __future__ import annotations

import random
import threading

import pytest

from fedtier.problems import Unavailable
from fedtier.serving.quota import SpoolQuota


def test_what_would_pass_the_quota_is_refused_with_the_figures() -> None:
    quota = SpoolQuota(100)
    quota.admit("a", 60)
    with pytest.raises(Unavailable, match="60 of 100 bytes are taken by 1 files, and this body has 41") as refusal:
        quota.admit("b", 41)
    assert refusal.value.retry_after == 1
    quota.admit("b", 40)
    assert quota.taken == 100


def test_what_is_let_go_makes_room_once() -> None:
    quota = SpoolQuota(100)
    quota.admit("a", 100)
    for _ in range(2):
        quota.let_go("a")
    assert quota.taken == 0
    quota.let_go("never seen")
    quota.admit("b", 100)


def test_files_of_the_servers_own_are_never_refused_but_count() -> None:
    quota = SpoolQuota(100)
    quota.admit("body", 100)
    quota.count("batch", 500)
    assert quota.taken == 600
    quota.count("batch", 50)
    assert quota.taken == 150
    quota.let_go("body")
    with pytest.raises(Unavailable, match="50 of 100"):
        quota.admit("b", 51)
    quota.admit("b", 50)


def test_a_body_that_no_waiting_helps_is_refused_with_what_to_do() -> None:
    with pytest.raises(Unavailable, match="can raise --spool-max"):
        SpoolQuota(100).admit("a", 101)


def test_it_is_exact_under_threads() -> None:
    quota, together = SpoolQuota(1000), threading.Barrier(8)
    over: list[int] = []

    def use(number: int) -> None:
        rng = random.Random(number)
        together.wait()
        for turn in range(1000):
            name = f"{number}-{turn}"
            try:
                quota.admit(name, rng.randrange(1, 400))
            except Unavailable:
                continue
            if quota.taken > 1000:
                over.append(quota.taken)
            quota.let_go(name)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not over
    assert quota.taken == 0
