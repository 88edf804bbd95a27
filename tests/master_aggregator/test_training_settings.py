"""How clients are to train: from the master's flags to each round's plan and manifest."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fedtier.rounds import BaseRound, ClientSettings, RoundPlan
from master_aggregator.planning import plan_round
from tests.builders import model_arrays, safetensors, trained, update_bytes
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server
from tests.system.federation import PATIENCE, Federation

RATES = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
FACTORS = st.floats(min_value=0, max_value=1, exclude_min=True)
ROUNDS = st.integers(1, 10**9)


def plan_of(number: int, *, lr: float, lr_decay: float = 1.0) -> RoundPlan:
    base = BaseRound(round=number - 1, sha256="0" * 64, bytes=1, url="/")
    chosen = rules(client=ClientSettings(epochs=3, lr=lr), lr_decay=lr_decay)
    return plan_round(chosen, base=base, attempt=1, tensors=(), now=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("number", "lr"), [(1, 0.5), (2, 0.25), (3, 0.125), (11, 0.5 / 1024)])
def test_the_learning_rate_of_a_round_is_decayed_once_per_round_before_it(number: int, lr: float) -> None:
    assert plan_of(number, lr=0.5, lr_decay=0.5).client == ClientSettings(epochs=3, lr=lr)


@given(RATES, ROUNDS)
def test_without_decay_every_round_has_the_rate_that_was_given(lr: float, number: int) -> None:
    assert plan_of(number, lr=lr).client.lr == lr


@given(RATES, FACTORS, ROUNDS)
def test_a_decayed_rate_is_never_zero_and_a_plan_is_always_one_that_clients_accept(
    lr: float, lr_decay: float, number: int
) -> None:
    plan = plan_of(number, lr=lr, lr_decay=lr_decay)

    assert min(lr, sys.float_info.min) <= plan.client.lr <= lr
    assert ClientSettings.from_json(plan.client.to_json()) == plan.client


def test_a_manifest_keeps_the_rate_that_its_round_used(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    chosen = rules(threshold=1, client=ClientSettings(lr=0.5), lr_decay=0.5)
    with Master(store, tmp_path / "state", chosen) as master:
        for number in (1, 2):
            assert master.send_update("a", update_bytes(trained(0), 10), number).status_code == 200
            master.await_round(number + 1)
        assert master.get_round()["client"]["lr"] == 0.125

        used = [master.http.get(f"/v1/rounds/{number}/manifest").get_json()["client"]["lr"] for number in (1, 2)]

    assert used == [0.5, 0.25]


def test_a_master_started_again_decays_as_before(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    chosen = rules(threshold=1, client=ClientSettings(lr=0.5), lr_decay=0.5)
    with Master(store, tmp_path / "first", chosen) as master:
        assert master.send_update("a", update_bytes(trained(0), 10)).status_code == 200
        master.await_round(2)

    with Master(store, tmp_path / "second", chosen) as master:
        status = master.get_round()

    assert (status["round"], status["client"]["lr"]) == (2, 0.25)


def test_an_open_round_keeps_its_rate_whatever_a_restart_says_and_the_next_has_the_new_one(
    s3_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=1, client=ClientSettings(lr=0.5), lr_decay=0.5)) as master:
        assert master.get_round()["client"]["lr"] == 0.5

    changed = rules(threshold=1, client=ClientSettings(lr=0.25), lr_decay=0.1)
    with Master(store, tmp_path / "state", changed) as master:
        assert master.get_round()["client"]["lr"] == 0.5
        assert master.send_update("a", update_bytes(trained(0), 10)).status_code == 200
        master.await_round(2)

        assert master.get_round()["client"]["lr"] == 0.025


def test_a_finished_federation_with_further_rounds_decays_on(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    fields = {"threshold": 1, "client": ClientSettings(lr=0.5), "lr_decay": 0.5}
    with Master(store, tmp_path / "state", rules(**fields, final_round=1)) as master:
        assert master.send_update("a", update_bytes(trained(0), 10)).status_code == 200
        assert master.finished.wait(PATIENCE)

    with Master(store, tmp_path / "state", rules(**fields, final_round=2)) as master:
        status = master.get_round()

    assert (status["round"], status["state"], status["client"]["lr"]) == (2, "collecting", 0.25)


@pytest.mark.system
def test_the_flags_of_a_master_reach_its_rounds(s3_server: S3Server, tmp_path: Path, bucket_key: str) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(safetensors(model_arrays()))
    flags = {
        **{"--threshold": "1", "--epoch": "2", "--batch-size": "16", "--lr": "0.25", "--lr-decay": "0.5"},
        **{"--optimizer": "adam", "--momentum": "0.125", "--weight-decay": "0.001", "--prox-mu": "0.75"},
    }
    with Federation(tmp_path, s3_server, bucket_key) as federation:
        master = federation.master(model, *(part for flag in flags.items() for part in flag))
        first = master.status().client
        body = update_bytes(trained(0), 10)
        headers = {"Content-Type": "application/octet-stream"}
        sent = requests.put(f"{master.url}/v1/rounds/1/updates/a", data=body, headers=headers, timeout=PATIENCE)
        assert sent.status_code == 200, sent.text
        master.wait_for_round(2)
        second = master.status().client

    assert first == ClientSettings(
        epochs=2, batch_size=16, lr=0.25, optimizer="adam", momentum=0.125, weight_decay=0.001, prox_mu=0.75
    )
    assert second == first.model_copy(update={"lr": 0.125})
