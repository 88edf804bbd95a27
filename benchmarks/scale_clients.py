"""What the clients of a scale benchmark send, prepared before anything is measured, and what must come of it.

Every client has an id and a token of its own. Bodies are fewer than clients: some models, each with some numbers of
examples, in files that stay in the page cache; so a thousand clients take no more memory than a few.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.load_connection import Body, Wanted
from benchmarks.reference_sum import file_header
from fedtier.dtypes import Array
from fedtier.tensors import write_arrays
from fedtier.tokens import Bearer
from fedtier_cli.local_keys import LocalKeys

_MODELS: Final = 4
_EXAMPLES: Final = (600, 601, 617, 640)
_COLUMNS: Final = 1000
_BIAS: Final = 10
_FLOAT_EXPONENT: Final = 26
"""By the definition in docs/architecture.md, of weights below 1 and the default weight limit."""
_WIDE_EXPONENT: Final = 149


@dataclass(frozen=True, slots=True)
class Kind:
    """A body that some clients send: one of the models, with a number of examples."""

    body: Body
    digest: str
    model: int
    num_examples: int


@dataclass(frozen=True)
class Clients:
    """The clients of one cell.

    Parameters
    ----------
    tokens : sequence of str
        One for each client.
    kinds : sequence of Kind
        Client k sends the one at k modulo their number.
    initial : Path
        The model that opens round 1.
    sha256 : str
        Of the model that a round of all clients makes, in hex, computed without fedtier.
    """

    tokens: Sequence[str]
    kinds: Sequence[Kind]
    initial: Path
    sha256: str

    def update(self, client: int, number: int) -> Wanted:
        """Return the request that uploads a client's update of a round."""
        kind = self.kinds[client % len(self.kinds)]
        head = (
            f"PUT /v1/rounds/{number}/updates/client-{client} HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nAuthorization: Bearer {self.tokens[client]}\r\n"
            "User-Agent: fedtier-benchmark\r\nAccept: */*\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {kind.body.size}\r\nContent-Digest: {kind.digest}\r\n\r\n"
        )
        return Wanted(client, head.encode(), kind.body)

    def get(self, client: int, path: str, *, at: float = 0.0, etag: str | None = None) -> Wanted:
        """Return a client's request for something."""
        known = f"If-None-Match: {etag}\r\n" if etag else ""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.tokens[client]}\r\n{known}\r\n"
        return Wanted(client, head.encode(), at=at)


@contextmanager
def prepared(folder: Path, keys: LocalKeys, clients: int, megabytes: float) -> Iterator[Clients]:
    """Prepare clients, whose files are open while the block runs.

    Parameters
    ----------
    folder : Path
        Where bodies are written.
    keys : LocalKeys
        Signs their tokens.
    clients : int
    megabytes : float
        Of float32 in an update, 10**6 bytes each.
    """
    models = [_model(number, megabytes) for number in range(_MODELS + 1)]
    initial = folder / "initial.safetensors"
    _write(initial, models[-1], {})
    with ExitStack() as files:
        kinds = [
            _kind(files, folder / f"update-{model}-{num_examples}.safetensors", models[model], model, num_examples)
            for num_examples in _EXAMPLES[: max(1, clients // _MODELS)]
            for model in range(min(_MODELS, clients))
        ]
        sent = Counter(client % len(kinds) for client in range(clients))
        expected = expected_sha256(models, [(kinds[at].model, kinds[at].num_examples, n) for at, n in sent.items()])
        tokens = [keys.token(Bearer("client", f"client-{client}")) for client in range(clients)]
        yield Clients(tokens, kinds, initial, expected)


def expected_sha256(models: Sequence[dict[str, Array]], sent: Iterable[tuple[int, int, int]]) -> str:
    """Return the SHA-256 of the averaged model, in hex, from the definition in docs/architecture.md.

    Parameters
    ----------
    models : sequence of dict
        ``weight``, float32 of two dimensions and below 1, and ``bias``, float32 of one.
    sent : iterable of (int, int, int)
        Number of a model, its number of examples, and how many clients sent it so.
    """
    weight = np.zeros(models[0]["weight"].shape, np.int64)
    bias = [0] * _BIAS
    total = 0
    for model, num_examples, times in sent:
        scaled = models[model]["weight"].astype(np.float64) * (num_examples * 2.0**_FLOAT_EXPONENT)
        weight += np.rint(scaled).astype(np.int64) * times
        total += num_examples * times
        for at, value in enumerate(models[model]["bias"].tolist()):
            bias[at] += times * round(math.ldexp(value * num_examples, _WIDE_EXPONENT))
    mean = (weight.astype(np.float64) / (total * 2.0**_FLOAT_EXPONENT)).astype(np.float32)
    mean_bias = np.array([float(entry) / (total * 2.0**_WIDE_EXPONENT) for entry in bias]).astype(np.float32)
    digest = hashlib.sha256(file_header({"weight": mean.shape, "bias": mean_bias.shape}))
    digest.update(mean.tobytes() + mean_bias.tobytes())
    return digest.hexdigest()


def _model(number: int, megabytes: float) -> dict[str, Array]:
    rng = np.random.default_rng(number)
    rows = max(1, round(megabytes * 1e6 / 4 / _COLUMNS))
    weight = rng.uniform(-0.9, 0.9, (rows, _COLUMNS)).astype(np.float32)
    return {"weight": weight, "bias": np.full(_BIAS, number / 8, np.float32)}


def _kind(files: ExitStack, path: Path, model: dict[str, Array], number: int, num_examples: int) -> Kind:
    _write(path, model, {"num_examples": str(num_examples), "metrics": '{"loss": 0.3125, "accuracy": 0.9}'})
    file = files.enter_context(path.open("rb"))
    sha256 = hashlib.file_digest(file, "sha256").digest()
    return Kind(Body(file, path.stat().st_size), f"sha-256=:{base64.b64encode(sha256).decode()}:", number, num_examples)


def _write(path: Path, model: dict[str, Array], metadata: dict[str, str]) -> None:
    with path.open("wb") as file:
        write_arrays(file, model, metadata=metadata)
