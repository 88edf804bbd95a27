"""Rounds are tested as they appear, whatever becomes of S3 meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.bucket import connect
from fedtier.problems import StartupError
from fedtier.rounds import InitialManifest, ModelDigest
from fedtier.store import PublishedRound, RoundStore
from fedtier_cli.seaweed import HOST, REGION
from fedtier_cli.watching import Watch, rounds_after
from tests.fedtier_cli.published_models import Publisher, steps

MANIFEST = InitialManifest(model=ModelDigest(sha256="a" * 64, bytes=8))


def history(last: int, *, federation: int = 0) -> list[PublishedRound]:
    """Return rounds as `RoundStore.history` yields them."""
    return [PublishedRound(number, f"{federation}-{number}", MANIFEST) for number in range(last, -1, -1)]


class TestRoundsAfter:
    @given(st.lists(st.integers(0, 30)).map(sorted))
    def test_growing_histories_give_each_round_once_in_order(self, heads: list[int]) -> None:
        seen: PublishedRound | None = None
        found: list[int] = []
        for head in heads:
            new = rounds_after(seen, history(head))
            found += [published.round for published in new]
            seen = new[-1] if new else seen
        assert found == list(range(heads[-1] + 1 if heads else 0))

    def test_no_more_of_the_history_is_read_than_is_new(self) -> None:
        read: list[int] = []

        def noted() -> Iterable[PublishedRound]:
            for published in history(1000):
                read.append(published.round)
                yield published

        assert [published.round for published in rounds_after(history(997)[0], noted())] == [998, 999, 1000]
        assert read == [1000, 999, 998, 997]

    @pytest.mark.parametrize(
        ("now", "sentence"),
        [
            ([], "now that is nothing; somebody replaced"),
            (history(2), "now that is round 2 of another history"),
            (history(5, federation=1), "now that is round 5 of another history"),
            (history(9, federation=1), "now that is round 9 of another history"),
        ],
    )
    def test_a_history_without_what_was_seen_is_refused(self, now: list[PublishedRound], sentence: str) -> None:
        with pytest.raises(StartupError, match=f"^round 5 was the newest that is published, and {sentence}"):
            rounds_after(history(5)[0], now)


@pytest.mark.system
class TestWatch:
    @pytest.fixture
    def publisher(self, s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path) -> Publisher:
        return Publisher(RoundStore(bucket, bucket_key), tmp_path)

    def watch(self, last: int | None, meanwhile: Iterable[Callable[[], object]]) -> tuple[Watch, list[str]]:
        """Return a watch; at each of its sleeps the next thing happens."""
        happens = iter(meanwhile)
        notes: list[str] = []
        return Watch(last=last, every=7.0, sleep=lambda _: next(happens)(), note=notes.append), notes

    def test_a_round_published_later_is_found(self, publisher: Publisher) -> None:
        watch, notes = self.watch(2, [lambda: publisher.publish(steps(1, 2))] * 3)
        found = watch.follow(lambda: publisher.store, lambda _, published: published.round)
        assert list(found) == [0, 1, 2]
        assert notes == [
            f"nothing is published at {publisher.store.keys.prefix} yet; it is waited for",
            "the wait is over",
        ]

    def test_it_ends_at_the_last_round_though_there_are_more(self, publisher: Publisher) -> None:
        for number in range(4):
            publisher.publish(steps(1, number))
        watch, notes = self.watch(1, [])
        assert list(watch.follow(lambda: publisher.store, lambda _, published: published.round)) == [0, 1]
        assert notes == []

    def test_s3_that_goes_away_is_said_once_and_no_round_is_lost(self, publisher: Publisher) -> None:
        publisher.publish(steps(1, 2))
        with socket.socket() as bound_but_silent:
            bound_but_silent.bind((HOST, 0))
            away = self.unreachable(publisher, bound_but_silent.getsockname()[1])
            places = iter([publisher.store, away, publisher.store])
            watch, notes = self.watch(1, [lambda: publisher.publish(steps(1, 3)), lambda: None, lambda: None])
            tries: list[int] = []

            def act(store: RoundStore, published: PublishedRound) -> int:
                tries.append(published.round)
                if tries == [0, 1]:
                    away.read_head()
                return published.round

            assert list(watch.follow(lambda: next(places), act)) == [0, 1]
        assert tries == [0, 1, 1]
        assert len(notes) == 2
        assert "cannot be reached" in notes[0]
        assert notes[1] == "the wait is over"

    def unreachable(self, publisher: Publisher, port: int) -> RoundStore:
        client = connect(endpoint=f"http://{HOST}:{port}", access_key="a", secret_key="b", region=REGION, attempts=1)
        return RoundStore("fedtier", publisher.store.keys.copy, client=client)

    def test_a_head_that_goes_back_ends_the_watch(self, publisher: Publisher, bucket: str) -> None:
        publisher.publish(steps(1, 2))
        head = publisher.store.keys.head
        watch, _ = self.watch(None, [lambda: connect().delete_object(Bucket=bucket, Key=head)])
        with pytest.raises(StartupError, match="round 0 was the newest that is published, and now that is nothing"):
            list(watch.follow(lambda: publisher.store, lambda _, published: published.round))

    def test_a_head_that_is_none_ends_the_watch(self, publisher: Publisher, bucket: str) -> None:
        publisher.publish(steps(1, 2))
        head = publisher.store.keys.head
        watch, _ = self.watch(None, [lambda: connect().put_object(Bucket=bucket, Key=head, Body=b"{}")])
        with pytest.raises(StartupError, match=f"{head} is no head"):
            list(watch.follow(lambda: publisher.store, lambda _, published: published.round))
