from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedtier.evaluations import Confusion, Evaluation
from fedtier.rounds import RoundManifest
from fedtier.store import RoundStore
from fedtier_cli.attendance import attendance, by_number
from fedtier_cli.history import HistoryRound
from tests.builders import contributor, make_plan, noon
from tests.fedtier_cli.federations import THREE, call, json_lines, place_of, publish, send
from tests.fedtier_cli.histories import DIGEST, history_round, part
from tests.fedtier_cli.histories import publish as publish_history
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server
from tests.workers import served

pytestmark = pytest.mark.usefixtures("s3_environment")
CONFUSION = Confusion(labels=("cat", "dog"), counts=((45, 5), (10, 40)))


@pytest.fixture(scope="module")
def store(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> RoundStore:
    """Three published rounds, the last of them evaluated; tests leave them as they are."""
    store = publish(s3_server, tmp_path_factory.mktemp("federation"))
    newest = next(store.history())
    evaluation = Evaluation(
        round=3,
        model_sha256=newest.manifest.model.sha256,
        task="pets",
        basis="a" * 64,
        examples=100,
        metrics={"loss": 0.25, "accuracy": 0.85},
        confusion=CONFUSION,
    )
    store.put_evaluation(evaluation)
    return store


@pytest.fixture
def place(s3_server: S3Server, store: RoundStore) -> list[str]:
    return place_of(s3_server, store)


# rounds


def test_rounds_says_of_each_round_what_its_manifest_and_its_evaluation_say(
    place: list[str], store: RoundStore
) -> None:
    lines = json_lines(call("rounds", *place, "--json"))
    manifests = [published.manifest for published in store.history()][::-1]
    assert [line["round"] for line in lines] == [0, 1, 2, 3]
    assert [line["model_sha256"] for line in lines] == [manifest.model.sha256 for manifest in manifests]
    assert [(line["clients"], line["examples"]) for line in lines] == [(0, 0), (2, 21), (2, 21), (2, 22)]
    # 10 examples with 1/1, 11 with 1/1 + 1
    assert lines[1]["training"]["loss"] == pytest.approx((10 * 1 + 11 * 2) / 21)
    assert [line["test"] for line in lines] == [{}, {}, {}, {"loss": 0.25, "accuracy": 0.85}]


def test_the_table_of_rounds_fits_80_columns_and_is_whole(place: list[str], store: RoundStore) -> None:
    output = call("rounds", *place).stdout
    assert max(map(len, output.splitlines())) <= 80
    for published in store.history():
        assert published.manifest.model.sha256[:12] in output
    assert "85.00%" in output
    assert "…" not in output


def test_only_the_newest_rounds_are_listed_where_so_many_are_wanted(place: list[str]) -> None:
    assert [line["round"] for line in json_lines(call("rounds", *place, "--last", 2, "--json"))] == [2, 3]


def test_where_nothing_is_published_that_is_the_sentence(bucket: str, bucket_key: str) -> None:
    for arguments in (["rounds"], ["show", "last"]):
        result = call(*arguments, "--bucket-name", bucket, "--bucket-key", bucket_key)
        assert result.exit_code == 1
        assert "nothing is published at" in result.stderr


def test_reading_commands_ask_for_a_place_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTIER_HOME", str(tmp_path))
    for arguments in (["rounds"], ["show", "1"], ["clients"], ["verify", "1"]):
        result = call(*arguments)
        assert result.exit_code == 1
        assert "name the federation" in result.stderr


def test_a_line_that_no_terminal_limits_is_whole(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    history = [history_round(0), history_round(1, [part("a", 10**12, loss=-1e300, accuracy=-1e300)])]
    publish_history(store, history)
    output = call("rounds", *place_of(s3_server, store)).stdout
    assert "1000000000000" in output
    assert "-1.000e+100" in output
    assert DIGEST[:12] in output


def test_what_a_client_reports_beyond_all_measure_is_json_nevertheless(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    publish_history(
        store, [history_round(0), history_round(1, [part("a", 600, loss=1e308), part("b", 600, loss=1e308)])]
    )
    lines = call("rounds", *place_of(s3_server, store), "--json").stdout.splitlines()
    assert json.loads(lines[1], parse_constant=pytest.fail)["training"] == {"loss": 1e100}


# show


def test_show_tells_a_person_who_is_in_a_round_and_how_good_it_is(place: list[str], store: RoundStore) -> None:
    output = call("show", "last", *place).stdout
    newest = next(store.history())
    assert newest.manifest.model.sha256 in output
    assert newest.manifest_sha256 in output
    assert "2 clients, 22 examples, attempt" in output
    assert "client-2         12   2.3333     70.00%" in output
    assert "selected, but not in the round: client-1" in output
    assert "evaluated by pets on 100 examples: loss 0.2500, accuracy 85.00%" in output
    assert "dog" in output
    assert "80.00%" in output


def test_names_that_a_terminal_would_obey_are_written_out(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    tested = history_round(1, [part("a")], {"[red]loss\x1b[31m\n": 1.0})
    assert tested.evaluation is not None
    confusion = Confusion(labels=("cat\x1b[2J", "[bold]dog"), counts=((1, 2), (0, 0)))
    evaluation = tested.evaluation.model_copy(update={"task": "task\x07", "confusion": confusion})
    publish_history(store, [history_round(0), HistoryRound(tested.published, evaluation)])
    output = call("show", "1", *place_of(s3_server, store)).stdout
    assert r"evaluated by task\x07: [red]loss\x1b[31m\n 1.0000" in output
    assert r"cat\x1b[2J" in output
    assert "[bold]dog, 2 times" in output
    assert output.replace("\n", "").isprintable()


def test_show_gives_programs_the_manifest_as_it_lies_in_s3(place: list[str], store: RoundStore) -> None:
    [document] = json_lines(call("show", "3", *place, "--json"))
    newest = next(store.history())
    assert document["manifest"] == json.loads(store.read_manifest(3, newest.manifest_sha256))
    assert document["absent"] == ["client-1"]
    assert document["evaluation"]["metrics"] == {"accuracy": 0.85, "loss": 0.25}


def test_show_tells_the_initial_model_from_a_round(place: list[str]) -> None:
    output = call("show", "0", *place).stdout
    assert "round 0   the initial model" in output
    assert "not evaluated" in output


def test_a_round_that_is_not_published_is_one_sentence(place: list[str]) -> None:
    result = call("show", "4", *place)
    assert result.exit_code == 1
    assert "round 4 is not published; the newest is 3" in result.stderr


def test_what_is_no_round_is_a_wrong_argument(place: list[str]) -> None:
    assert call("show", "first", *place).exit_code == 2


def test_long_lists_are_cut_unless_all_is_wanted(s3_server: S3Server, tmp_path: Path) -> None:
    clients = [f"client-{number}" for number in range(25)]
    store = publish(s3_server, tmp_path, [clients], clients=50, threshold=25)
    cut = call("show", "1", *place_of(s3_server, store)).stdout
    whole = call("show", "1", "--all", *place_of(s3_server, store)).stdout
    assert ("client-19 " in cut, "client-24" in cut, "client-49" in cut) == (True, False, False)
    assert "and 5 more; --all shows them" in cut
    assert all(f"client-{number}" in whole for number in range(50))


# clients


def test_clients_are_told_apart_by_when_they_were_seen(place: list[str]) -> None:
    lines = json_lines(call("clients", *place, "--clients", 4, "--json"))
    assert [(line["client_id"], line["state"], line["rounds"], line["missed"]) for line in lines] == [
        ("client-0", "seen", 3, []),
        ("client-1", "late", 2, [3]),
        ("client-2", "seen", 1, [1, 2]),
        ("client-3", "never seen", 0, []),
    ]
    assert lines[1]["metrics"] == {"accuracy": 0.6, "loss": 1.5}  # of round 2
    assert [line["last_round"] for line in lines] == [3, 2, 3, None]


def test_the_table_of_clients_fits_80_columns_and_is_whole(place: list[str]) -> None:
    output = call("clients", *place, "--clients", 4).stdout
    assert max(map(len, output.splitlines())) <= 80
    assert "…" not in output
    assert "2 seen, 1 late, 1 never seen" in output


def test_the_open_round_is_told_of_where_a_server_is_known(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(**THREE)) as master, served(master.app) as (url, _):
        send(master, ["client-2"], 1)
        flags = [*place_of(s3_server, store), "--server", url]
        assert "round 1 is collecting: 1 client counted, 1 more to wait for" in call("clients", *flags).stdout
        [line] = json_lines(call("clients", *flags, "--json"))
    assert line["open"]["cohort"] == ["client-0", "client-1", "client-2"]
    assert line["open"]["counted"] == 1


def test_a_server_that_was_named_and_is_away_is_one_sentence(place: list[str]) -> None:
    result = call("clients", *place, "--server", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "does not answer" in result.stderr


def manifest(number: int, present: list[str], cohort: list[str] | None = None) -> RoundManifest:
    plan = make_plan(round=number, cohort=None if cohort is None else tuple(cohort))
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    return RoundManifest(
        **fields,
        model={"sha256": "a" * 64, "bytes": 8},
        total_examples=10 * len(present),
        contributors=tuple(contributor(client_id) for client_id in present),
        previous={"round": number - 1, "manifest_sha256": "b" * 64},
        opened_at=noon(),
        closed_at=noon(),
        published_at=noon(),
    )


def test_a_client_that_no_later_round_selected_is_not_late() -> None:
    rounds = [manifest(1, ["a"], ["a", "b"]), manifest(2, ["b"], ["b"])]
    records = {record.client_id: record for record in attendance(rounds)}
    assert (records["a"].presence, records["a"].missed) == ("seen", ())
    assert (records["b"].presence, records["b"].missed) == ("seen", (1,))


def test_a_selected_client_that_never_came_was_never_seen() -> None:
    [record] = [record for record in attendance([manifest(1, ["a"], ["a", "b"])]) if record.client_id == "b"]
    assert (record.presence, record.selected, record.missed) == ("never seen", 1, (1,))


def test_a_round_without_a_cohort_selects_who_was_there_before_and_who_is_expected() -> None:
    rounds = [manifest(2, ["b"]), manifest(1, ["a"])]
    records = {record.client_id: record for record in attendance(rounds, ["c"])}
    assert (records["a"].presence, records["a"].missed) == ("late", (2,))
    assert (records["b"].presence, records["b"].missed) == ("seen", ())
    assert (records["c"].presence, records["c"].missed) == ("never seen", (1, 2))


def test_clients_are_sorted_by_their_numbers() -> None:
    assert sorted(["client-10", "b", "client-2", "7"], key=by_number) == ["7", "b", "client-2", "client-10"]


def test_clients_with_the_same_number_have_one_order() -> None:
    assert sorted(["c-1", "c-01"], key=by_number) == sorted(["c-01", "c-1"], key=by_number)
