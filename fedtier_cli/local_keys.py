"""The keys of a local run and the tokens of its processes, made without asking and kept in its directory.

A token goes to a process in a file, and the public key in its environment: nothing of
either shows in the list of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fedtier.flags import read_text
from fedtier.problems import StartupError
from fedtier.serving.verify_keys import VERIFY_KEYS
from fedtier.token_sources import TOKEN_FILE, TokenPlace, TokenSource, single_token
from fedtier.tokens import Bearer, Role, generate_keys, make_token, public_key_of
from fedtier_cli.key_files import SIGNING_KEY, VERIFY_KEY, write_secret
from fedtier_cli.rundir import RunDirectory

LIFETIME: Final = timedelta(days=365)
"""From the start of the run, which signs all of its tokens anew."""
_WORKER: Final = "worker"


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """A local run's keys.

    Parameters
    ----------
    run : RunDirectory
    signing_key : bytes
        As PEM.
    now : datetime
        When the run started.
    """

    run: RunDirectory
    signing_key: bytes = field(repr=False)
    now: datetime

    @property
    def of_servers(self) -> Mapping[str, str]:
        """Environment variables by which servers verify tokens."""
        return {VERIFY_KEYS: public_key_of(self.signing_key).decode()}

    @property
    def of_workers(self) -> Mapping[str, str]:
        """Environment variables of a worker, which asks its upstream and is asked."""
        return {**self.of_servers, TOKEN_FILE: str(self.run.token(_WORKER))}

    @property
    def operator(self) -> TokenSource | None:
        """The operator's token."""
        return single_token(TokenPlace(file=self.run.token("operator")), warn=lambda _: None)

    def of_clients(self, process: str, names: Iterable[str]) -> Mapping[str, str]:
        """Return environment variables of a process that plays some clients, whose tokens are signed for it now."""
        self.sign(process, [Bearer("client", name) for name in names])
        return {TOKEN_FILE: str(self.run.token(process))}

    def token(self, bearer: Bearer) -> str:
        """Return a token, signed now."""
        return make_token(self.signing_key, bearer, now=self.now, lifetime=LIFETIME)

    def sign(self, name: str, bearers: Iterable[Bearer]) -> None:
        """Write tokens to the file of this name.

        Raises
        ------
        StartupError
        """
        write_secret(self.run.token(name), "".join(f"{self.token(bearer)}\n" for bearer in bearers))


def local_keys(run: RunDirectory, now: datetime) -> LocalKeys:
    """Return a run's keys, made where there are none, with new tokens for its workers and its operator.

    Raises
    ------
    StartupError
        They cannot be read or written.
    """
    try:
        for folder in (run.keys, run.tokens):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
    except OSError as error:
        raise StartupError(f"the keys cannot be kept in {run.path}: {error.strerror}") from None
    signing, verify = run.keys / SIGNING_KEY, run.keys / VERIFY_KEY
    if not signing.exists():
        write_secret(signing, generate_keys()[0].decode())
    keys = LocalKeys(run, read_text(str(signing), "the run's signing key").encode(), now)
    write_secret(verify, public_key_of(keys.signing_key).decode())
    roles: tuple[Role, ...] = ("worker", "operator")
    for role in roles:
        keys.sign(role, [Bearer(role, f"local-{role}")])
    return keys


def operator_token(run: RunDirectory) -> TokenPlace | None:
    """Return where the token is by which a run's operator asks its master.

    None where the run never had keys, and where it does not run now: whoever listens at its address then is not told.
    """
    path = run.token("operator")
    return TokenPlace(file=path) if path.is_file() and run.is_in_use() else None
