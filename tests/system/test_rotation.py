"""Keys, tokens and revocations change under a federation that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import requests

from fedtier.tokens import Bearer, generate_keys
from tests.builders import model_arrays, safetensors, trained, update_bytes
from tests.s3_servers import S3Server
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.tokens import signed

pytestmark = pytest.mark.system

OLD, NEW = generate_keys(), generate_keys()


def token(keys: tuple[bytes, bytes], bearer: Bearer) -> str:
    return signed(keys[0], bearer.role, bearer.subject)


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def status_code(tier: Aggregator, keys: tuple[bytes, bytes], subject: str = "client-0") -> int:
    headers = {"Authorization": f"Bearer {token(keys, Bearer('client', subject))}"}
    return requests.get(f"{tier.url}/v1/round", headers=headers, timeout=PATIENCE).status_code


def await_status_code(tiers: Sequence[Aggregator], keys: tuple[bytes, bytes], wanted: int) -> None:
    """Return when a client's token of a key gets this answer everywhere."""
    for tier in tiers:
        tier.process.wait_until(partial(_has, tier, keys, wanted), f"{tier.name} answers {wanted}")


def _has(tier: Aggregator, keys: tuple[bytes, bytes], wanted: int) -> bool:
    return status_code(tier, keys) == wanted


def upload(tier: Aggregator, keys: tuple[bytes, bytes], number: int) -> int:
    headers = {"Authorization": f"Bearer {token(keys, Bearer('client', 'client-0'))}"}
    place, body = f"{tier.url}/v1/rounds/{number}/updates/client-0", update_bytes(trained(number))
    return requests.put(place, data=body, headers=headers, timeout=PATIENCE).status_code


def test_keys_are_rotated_and_tokens_renewed_and_revoked_without_a_restart(
    tmp_path: Path, s3_server: S3Server, bucket_key: str
) -> None:
    model, keys, workers_token, revoked = (tmp_path / name for name in ("model.safetensors", "keys", "w", "revoked"))
    model.write_bytes(safetensors(model_arrays()))
    keys.mkdir()
    (keys / "1.pem").write_bytes(OLD[1])
    revoked.touch()
    replace(workers_token, token(OLD, Bearer("worker", "w")))
    variables = {
        "FEDTIER_VERIFY_KEYS": str(keys),
        "FEDTIER_TOKEN_FILE": str(workers_token),
        "FEDTIER_REVOKED": str(revoked),
    }
    with Federation(tmp_path, s3_server, bucket_key, variables=variables) as federation:
        master = federation.master(model, "--threshold", "1")
        worker = federation.worker("worker", upstream=master.url)
        tiers = (master, worker)
        before = [tier.serving_pid for tier in tiers]
        assert upload(worker, OLD, 1) == 200

        (keys / "2.pem").write_bytes(NEW[1])
        await_status_code(tiers, NEW, 200)
        replace(workers_token, token(NEW, Bearer("worker", "w")))
        (keys / "1.pem").unlink()
        await_status_code(tiers, OLD, 401)
        worker.process.wait_until(lambda: upload(worker, NEW, 2) == 200, "the worker's new token is good")

        replace(revoked, "client-0\n")
        await_status_code(tiers, NEW, 401)
        assert [status_code(tier, NEW, "client-1") for tier in tiers] == [200, 200]
        assert [tier.serving_pid for tier in tiers] == before
