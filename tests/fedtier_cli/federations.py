"""Published federations of a small model, and commands called on them in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from fedtier.store import RoundStore
from fedtier_cli.main import main
from tests.builders import model_arrays, trained, update_bytes
from tests.masters import PATIENCE, Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server

THREE = {"threshold": 2, "clients": 3}
"""Rules: three clients are selected, two close a round."""
PRESENT = (("client-0", "client-1"), ("client-0", "client-1"), ("client-0", "client-2"))


def send(master: Master, clients: Sequence[str], number: int) -> None:
    """Have clients be counted in a round."""
    for client_id in clients:
        seed = int(client_id.rpartition("-")[2])
        metrics = {"loss": 1 / number + seed, "accuracy": 0.5 + seed / 10}
        body = update_bytes(trained(seed, model_arrays()), 10 + seed, metrics)
        answer = master.send_update(client_id, body, number)
        assert answer.status_code == 200, answer.data


def publish(server: S3Server, folder: Path, present: Sequence[Sequence[str]] = PRESENT, **changes: Any) -> RoundStore:
    """Publish one round for each entry of `present` through a real master, which is finished then."""
    store = store_of(server)
    publish_initial(store, folder)
    last = len(present)
    with Master(store, folder / "state", rules(**{**THREE, "final_round": last, **changes})) as master:
        for number, clients in enumerate(present, start=1):
            send(master, clients, number)
            master.await_round(number + 1)
        assert master.finished.wait(PATIENCE)
    return store


def place_of(server: S3Server, store: RoundStore) -> list[str]:
    """Return the flags that name a federation's place."""
    return ["--bucket-name", server.bucket, "--bucket-key", store.keys.copy]


def call(*arguments: object) -> Result:
    """Call a command in this process."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="fedtier")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def json_lines(result: Result) -> list[dict[str, Any]]:
    """Return the JSON objects that a command printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]
