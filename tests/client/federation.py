"""A server that holds rounds as `protocol.md` says, in memory, with the mean in plain NumPy."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedtier.dtypes import Array, spec_of
from fedtier.kinds import plan_tensor
from fedtier.problems import NotFound, Problem, RoundNotOpen, RoundOver
from fedtier.rounds import BaseRound, ClientSettings, RoundStatus, State, UpdateReceipt
from fedtier.tensors import TensorFile, write_arrays
from tests.client.loopback import Reply, Request, problem_reply

WEIGHT_LIMIT = 1 << 20


def model_bytes(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays)
    return file.getvalue()


def make_status(
    arrays: Mapping[str, Array],
    *,
    number: int = 1,
    attempt: int = 1,
    state: State = "collecting",
    cohort: tuple[str, ...] | None = None,
    final_round: int | None = None,
    base: bytes | None = None,
) -> RoundStatus:
    content = model_bytes(arrays) if base is None else base
    return RoundStatus(
        round=number,
        attempt=attempt,
        state=state,
        base=BaseRound(
            round=number - 1,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            url=f"/v1/rounds/{number - 1}/model",
        ),
        tensors=tuple(plan_tensor(spec_of(name, array), array, WEIGHT_LIMIT) for name, array in arrays.items()),
        weight_limit=WEIGHT_LIMIT,
        max_examples=WEIGHT_LIMIT,
        threshold=1,
        min_clients=1,
        deadline=None,
        cohort=cohort,
        final_round=final_round,
        client=ClientSettings(),
        counted=0,
        poll_after=0.01,
    )


class Federation:
    """Counts updates, closes a round at the threshold and opens the next.

    Parameters
    ----------
    arrays : Mapping of str to ndarray
        The initial model.
    directory : Path
        For update files while they are read.
    threshold, final_round : int
    cohort : tuple of str, optional
        Of every round.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        directory: Path,
        *,
        threshold: int,
        final_round: int,
        cohort: tuple[str, ...] | None = None,
    ) -> None:
        self.models = [dict(arrays)]
        self.attempt = 1
        self.trained: list[tuple[int, str, str]] = []
        self._directory = directory
        self._threshold = threshold
        self._final_round = final_round
        self.cohort = cohort
        self._updates: dict[str, tuple[dict[str, Array], int]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            try:
                return self._answer(request)
            except Problem as problem:
                return problem_reply(problem)

    def start_over(self) -> None:
        """Lose what the open round counted, as a master that lost its disk does."""
        with self._lock:
            self.attempt += 1
            self._updates.clear()

    @property
    def round(self) -> int:
        return len(self.models)

    def _answer(self, request: Request) -> Reply:
        if request.path == "/v1/round":
            return Reply(200, self._status().to_json())
        if match := re.fullmatch(r"/v1/rounds/(\d+)/model", request.path):
            if int(match[1]) >= self.round:
                raise NotFound(f"round {match[1]} is not published")
            return Reply(200, model_bytes(self.models[int(match[1])]))
        match = re.fullmatch(r"/v1/rounds/(\d+)/updates/(.+)", request.path)
        assert match is not None
        return self._update(int(match[1]), match[2], request.body)

    def _status(self) -> RoundStatus:
        finished = self.round > self._final_round
        return make_status(
            self.models[-1],
            number=self.round,
            attempt=self.attempt,
            state="finished" if finished else "collecting",
            cohort=self.cohort,
            final_round=self._final_round,
        )

    def _update(self, number: int, client_id: str, body: bytes) -> Reply:
        now = {"round": self.round, "attempt": self.attempt}
        if number != self.round:
            raise (RoundOver if number < self.round else RoundNotOpen)(f"round {self.round} is open", **now)
        digest = hashlib.sha256(body).hexdigest()
        self.trained.append((number, client_id, digest))
        path = self._directory / f"{client_id}.safetensors"
        path.write_bytes(body)
        file = TensorFile(path)
        arrays = {spec.name: np.array(file.array(spec.name)) for spec in file.header.specs}
        self._updates[client_id] = arrays, int(file.header.metadata["num_examples"])
        if len(self._updates) == self._threshold:
            self._publish()
        receipt = UpdateReceipt(round=number, attempt=now["attempt"], client_id=client_id, sha256=digest)
        return Reply(200, receipt.to_json())

    def _publish(self) -> None:
        total = sum(weight for _, weight in self._updates.values())
        self.models.append(
            {
                name: sum(
                    (arrays[name].astype(np.float64) * weight for arrays, weight in self._updates.values()),
                    start=np.zeros(array.shape),
                ).astype(np.float32)
                / np.float32(total)
                for name, array in self.models[-1].items()
            }
        )
        self.attempt += 1
        self._updates.clear()
