"""Clients that send float32, bfloat16 and float16 meet in one round, which is the exact mean of what they sent."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from fedtier.dtypes import TensorSpec, round_to, widen_into
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT
from fedtier.tensors import write_arrays
from tests import reference
from tests.client import numpy_task
from tests.reference import Tensor
from tests.system.federation import Federation

pytestmark = pytest.mark.system

SHAPE = (3, 50)
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def test_updates_of_three_dtypes_make_the_mean_of_what_was_sent(federation: Federation, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    zeros = np.zeros(SHAPE, np.float32)
    with model.open("wb") as file:
        write_arrays(file, {"table": zeros})
    master = federation.master(model, "--threshold", "3", "--rounds", "1")
    workers = [federation.worker(name, upstream=master.url) for name in ("first", "second")]
    checkout = Path(numpy_task.__file__).parents[2]

    clients, sent, counted = [], [], []
    for number, (upload_dtype, dtype) in enumerate(DTYPES.items()):
        numbers = np.random.default_rng(number).normal(0, 1, SHAPE).astype(np.float32)
        data = tmp_path / f"client-{number}.npy"
        np.save(data, numbers)
        task = f"{numpy_task.__file__}:Table"
        flags = ["--data", str(data), "--task", task, "--rounds", "1"]
        variables = {"PYTHONPATH": str(checkout)}
        if number % 2:
            flags += ["--upload-dtype", upload_dtype]
        else:
            variables["FEDTIER_UPLOAD_DTYPE"] = upload_dtype
        server = workers[number % 2].url
        clients.append(federation.client(f"client-{number}", *flags, server=server, variables=variables))

        stored = numbers if dtype == "F32" else round_to(numbers, dtype)
        file_sent = io.BytesIO()
        metadata = {"num_examples": str(number + 1), "metrics": "{}"}
        write_arrays(file_sent, {"table": stored}, specs=[TensorSpec("table", dtype, SHAPE)], metadata=metadata)
        counted.append((f"client-{number}", number + 1, hashlib.sha256(file_sent.getvalue()).hexdigest()))
        single = numbers.copy()
        if dtype != "F32":
            widen_into(single, stored, dtype)
        sent.append(({"table": Tensor("F32", SHAPE, single.tobytes())}, number + 1))

    assert [client.wait() for client in clients] == [0, 0, 0], "\n".join(client.log_end() for client in clients)
    manifest = master.published(1)
    assert [(c.client_id, c.num_examples, c.sha256) for c in manifest.contributors] == counted
    base = [("table", Tensor("F32", SHAPE, zeros.tobytes()))]
    mean = reference.round_model(base, sent, DEFAULT_WEIGHT_LIMIT)
    assert manifest.model.sha256 == hashlib.sha256(mean).hexdigest()
