"""What ``fedtier graph --json`` says of each round, as texts and numbers for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from fedtier_cli.metrics import shown_metric

Fact: TypeAlias = Mapping[str, Any]
"""One round: its number, counts, seconds, and for loss and accuracy each client's value, their mean, and the test."""

_ALL_SHOWN: Final = 10
"""Up to so many clients have a column each."""
_NONE: Final = "·"


def last_accuracies(rounds: Sequence[Fact]) -> str:
    """Return each client's last accuracy, and that of the last model on the test data, as Markdown.

    Parameters
    ----------
    rounds : sequence of Fact
        All, oldest first.
    """
    found: dict[str, tuple[int, float]] = {}
    for fact in rounds:
        found |= {client: (fact["round"], value) for client, value in fact["accuracy"]["devices"].items()}
    lines = [
        f"- {client}: {shown_metric('accuracy', value)} in its training, in round {number}"
        for client, (number, value) in sorted(found.items(), key=lambda item: _in_order(item[0]))
    ]
    if not lines:
        lines.append("- no client was in any round")
    if (test := rounds[-1]["accuracy"]["test"]) is not None:
        number = rounds[-1]["round"]
        lines.append(f"- **the model of round {number}: {shown_metric('accuracy', test)} on the test data**")
    return "# Last accuracies\n\n" + "\n".join(lines) + "\n"


def accuracy_table(rounds: Sequence[Fact]) -> str:
    """Return a row for each round, as Markdown; of many clients only the mean.

    Parameters
    ----------
    rounds : sequence of Fact
        All, oldest first.
    """
    clients = _clients(rounds)
    shown = clients if len(clients) <= _ALL_SHOWN else []
    head = ["round", "clients", "examples", *shown, "clients' mean", "test accuracy", "test loss", "seconds"]
    rows = [[cell or _NONE for cell in _row(fact, shown)] for fact in rounds]
    lines = [head, ["---:"] * len(head), *rows]
    return "# Accuracy by round\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def last_metrics(rounds: Sequence[Fact]) -> dict[str, float]:
    """Return the numbers by which runs are compared: those of the last model, and how many were at it.

    Parameters
    ----------
    rounds : sequence of Fact
        All, oldest first.
    """
    last = rounds[-1]
    tested = {name: last[name]["test"] for name in ("accuracy", "loss")}
    return {
        **{name: value for name, value in tested.items() if value is not None},
        "rounds": float(last["round"]),
        "clients": float(len(_clients(rounds))),
        "clients_in_last_round": float(last["clients"]),
    }


def _row(fact: Fact, clients: Sequence[str]) -> list[str]:
    accuracy, seconds = fact["accuracy"], fact["seconds"]
    return [
        *(str(fact[name]) for name in ("round", "clients", "examples")),
        *(shown_metric("accuracy", accuracy["devices"].get(client)) for client in clients),
        *(shown_metric("accuracy", accuracy[name]) for name in ("mean", "test")),
        shown_metric("loss", fact["loss"]["test"]),
        "" if seconds is None else f"{seconds:.1f}",
    ]


def _clients(rounds: Sequence[Fact]) -> list[str]:
    return sorted({client for fact in rounds for client in fact["accuracy"]["devices"]}, key=_in_order)


def _in_order(client: str) -> tuple[str, int]:
    """Return by what client-2 comes before client-10."""
    name, _, number = client.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (client, 0)
