"""``fedtier keygen`` and ``fedtier token``: keys and signed tokens."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from fedtier.flags import FiniteRange, command, json_flag, read_text
from fedtier.problems import StartupError
from fedtier.tokens import ROLES, Bearer, Role, generate_keys, make_token

SIGNING_KEY = "signing-key.pem"
VERIFY_KEY = "verify-key.pem"
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@command("keygen")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@json_flag
def keygen(folder: Path, as_json: bool) -> None:
    """Make a signing key (the operator's) and its public key (the servers') in DIR."""
    paths = folder / SIGNING_KEY, folder / VERIFY_KEY
    private, public = generate_keys()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, pem, mode in zip(paths, (private, public), (0o600, 0o644), strict=True):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(pem)
    except FileExistsError:
        raise StartupError(f"{folder} holds a key already; choose another folder, keys are not overwritten") from None
    except OSError as error:
        raise StartupError(f"the keys cannot be written to {folder}: {error.strerror}") from None
    if as_json:
        print(json.dumps({"signing_key": str(paths[0]), "verify_key": str(paths[1])}))
        return
    print(f"{paths[0]}  signs tokens; keep it to yourself (FEDTIER_SIGNING_KEY)")
    print(f"{paths[1]}  verifies them; give it to every server (FEDTIER_VERIFY_KEYS)")


@command("token")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What its bearer may do.")
@click.option("--subject", required=True, help="Who its bearer is: a client's id, or a name for a worker or operator.")
@click.option("--days", type=FiniteRange(min=0, min_open=True, max=3650), default=30, help="How long it is good.")
@json_flag
def token(role: Role, subject: str, days: float, as_json: bool) -> None:
    """Sign a token with the key in FEDTIER_SIGNING_KEY (PEM text or a path)."""
    source = os.environ.get("FEDTIER_SIGNING_KEY", "").strip()
    if not source:
        raise StartupError("FEDTIER_SIGNING_KEY is not set; name the signing key that fedtier keygen made")
    if not _SUBJECT.fullmatch(subject):
        raise StartupError(f"--subject {subject[:140]!r} does not match {_SUBJECT.pattern}")
    key = read_text(source, "FEDTIER_SIGNING_KEY", secret=True).encode()
    now, lifetime = datetime.now(UTC), timedelta(days=days)
    signed = make_token(key, Bearer(role, subject), now=now, lifetime=lifetime)
    if as_json:
        expires = (now + lifetime).isoformat()
        print(json.dumps({"token": signed, "role": role, "subject": subject, "expires": expires}))
    else:
        print(signed)
