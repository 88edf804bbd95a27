"""Real clients take part through two workers that share a port, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedtier.tensors import TensorFile, write_arrays
from tests.client import numpy_task
from tests.system.federation import Federation

pytestmark = pytest.mark.system


def test_clients_of_a_numpy_task_reach_the_last_round_without_torch(federation: Federation, tmp_path: Path) -> None:
    untouched = tmp_path / "path" / "torch.py"
    untouched.parent.mkdir()
    untouched.write_text("raise AssertionError('torch was imported')")
    checkout = Path(numpy_task.__file__).parents[2]
    model = tmp_path / "model.safetensors"
    with model.open("wb") as file:
        write_arrays(file, {"mean": np.zeros(1, np.float32)})
    master = federation.master(model, "--threshold", "2", "--rounds", "2")
    first = federation.worker("first", "--share-port", upstream=master.url)
    second = federation.worker("second", "--share-port", upstream=master.url, port=first.port)
    assert second.url == first.url

    clients = []
    for client_id, numbers in (("client-0", "1\n2\n3\n"), ("client-1", "10\n")):
        shard = tmp_path / f"{client_id}.txt"
        shard.write_text(numbers)
        task = f"{numpy_task.__file__}:ColumnMean"
        flags = ("--data", str(shard), "--task", task, "--rounds", "2")
        variables = {"PYTHONPATH": f"{untouched.parent}:{checkout}"}
        clients.append(federation.client(client_id, *flags, server=first.url, variables=variables))

    assert [client.wait() for client in clients] == [0, 0], "\n".join(client.log_end() for client in clients)
    for round_number in (1, 2):
        manifest = master.published(round_number)
        assert [(c.client_id, c.num_examples) for c in manifest.contributors] == [("client-0", 3), ("client-1", 1)]
    published = tmp_path / "published.safetensors"
    published.write_bytes(first.get("/v1/rounds/2/model").content)
    assert TensorFile(published).array("mean").tolist() == [(3 * 2 + 1 * 10) / 4]
