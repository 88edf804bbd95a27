"""``fedtier keygen`` and ``fedtier token``: keys and signed tokens."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from fedtier.fields import CLIENT_ID
from fedtier.flags import FiniteRange, audience_flag, command, json_flag, read_text
from fedtier.problems import StartupError
from fedtier.tokens import ROLES, Bearer, Role, make_token
from fedtier_cli.key_files import SIGNING_KEY, VERIFY_KEY, make_key_pair, write_secret


@command("keygen")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@json_flag
def keygen(folder: Path, as_json: bool) -> None:
    """Make a signing key (the operator's) and its public key (the servers') in DIR."""
    make_key_pair(folder)
    signing, verify = folder / SIGNING_KEY, folder / VERIFY_KEY
    if as_json:
        print(json.dumps({"signing_key": str(signing), "verify_key": str(verify)}))
        return
    print(f"{signing}  signs tokens; keep it to yourself (FEDTIER_SIGNING_KEY)")
    print(f"{verify}  verifies them; give it to every server (FEDTIER_VERIFY_KEYS)")


@command("token")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What its bearer may do.")
@click.option("--subject", required=True, help="Who its bearer is: a client's id, or a name for a worker or operator.")
@click.option("--days", type=FiniteRange(min=0, min_open=True, max=3650), default=30, help="How long it is good.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the token, of mode 0600, replaced if it is there; its bearer's FEDTIER_TOKEN_FILE. "
    "[default: standard output]",
)
@audience_flag
@json_flag
def token(role: Role, subject: str, days: float, out: Path | None, audience: str, as_json: bool) -> None:
    """Sign a token with the key in FEDTIER_SIGNING_KEY (PEM text or a path)."""
    source = os.environ.get("FEDTIER_SIGNING_KEY", "").strip()
    if not source:
        raise StartupError("FEDTIER_SIGNING_KEY is not set; name the signing key that fedtier keygen made")
    if not CLIENT_ID.fullmatch(subject):
        raise StartupError(f"--subject {subject[:140]!r} does not match {CLIENT_ID.pattern}")
    key = read_text(source, "FEDTIER_SIGNING_KEY", secret=True).encode()
    now, lifetime = datetime.now(UTC), timedelta(days=days)
    signed = make_token(key, Bearer(role, subject), now=now, lifetime=lifetime, audience=audience)
    expires = now + lifetime
    if out is not None:
        write_secret(out, signed + "\n")
    if as_json:
        where = {"token": signed} if out is None else {"path": str(out)}
        facts = {"role": role, "subject": subject, "audience": audience, "expires": expires.isoformat()}
        print(json.dumps({**where, **facts}))
    elif out is None:
        print(signed)
    else:
        print(f"{out}  token of the {role} {subject} until {expires:%Y-%m-%d %H:%M} UTC (FEDTIER_TOKEN_FILE)")
