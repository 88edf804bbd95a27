from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.kubeflow.steps.accuracies import accuracy_table, last_accuracies, last_metrics


def fact(number: int, devices: Mapping[str, float], test: float | None = None) -> dict[str, Any]:
    """Return what is known of a round in which these clients reported these accuracies."""
    mean = sum(devices.values()) / len(devices) if devices else None
    return {
        "round": number,
        "clients": len(devices),
        "examples": 10 * len(devices),
        "seconds": None if number == 0 else 1.25,
        "accuracy": {"mean": mean, "test": test, "devices": devices},
        "loss": {"mean": None, "test": None if test is None else 1 - test, "devices": {}},
    }


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_a_client_that_was_lost_is_told_of_with_the_last_round_that_it_was_in() -> None:
    rounds = [fact(0, {}, 0.1), fact(1, {"client-0": 0.5, "client-1": 0.25}), fact(2, {"client-0": 0.75}, 0.8)]

    assert last_accuracies(rounds).splitlines()[2:] == [
        "- client-0: 75.00% in its training, in round 2",
        "- client-1: 25.00% in its training, in round 1",
        "- **the model of round 2: 80.00% on the test data**",
    ]
    assert last_metrics(rounds) == {
        "accuracy": 0.8,
        "loss": 1 - 0.8,
        "rounds": 2,
        "clients": 2,
        "clients_in_last_round": 1,
    }


def test_a_run_without_any_round_is_told_as_such() -> None:
    rounds = [fact(0, {}, 0.125)]

    assert "no client was in any round" in last_accuracies(rounds)
    assert cells(accuracy_table(rounds))[2:] == [["0", "0", "0", "·", "12.50%", "0.8750", "·"]]
    assert last_metrics(rounds)["clients"] == 0


def test_what_nobody_tested_is_left_out() -> None:
    rounds = [fact(1, {"client-0": 0.5})]

    assert "test data" not in last_accuracies(rounds)
    assert last_metrics(rounds).keys() == {"rounds", "clients", "clients_in_last_round"}


def test_clients_stand_in_the_order_of_their_numbers() -> None:
    rounds = [fact(1, {f"client-{number}": number / 100 for number in (9, 10, 2)})]

    assert cells(accuracy_table(rounds))[0][3:6] == ["client-2", "client-9", "client-10"]
    assert [line[:11] for line in last_accuracies(rounds).splitlines()[2:]] == [
        "- client-2:",
        "- client-9:",
        "- client-10",
    ]


def test_of_many_clients_the_table_has_the_mean() -> None:
    rounds = [fact(1, {f"client-{number}": 0.5 for number in range(11)}, 0.5)]

    assert cells(accuracy_table(rounds)) == [
        ["round", "clients", "examples", "clients' mean", "test accuracy", "test loss", "seconds"],
        ["---:"] * 7,
        ["1", "11", "110", "50.00%", "50.00%", "0.5000", "1.2"],
    ]
