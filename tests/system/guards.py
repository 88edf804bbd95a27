"""Keys and certificates of one federation: what its servers verify by, and what each process shows of itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from fedtier.claims import DEFAULT_AUDIENCE
from fedtier.tls import Tls
from fedtier.tokens import Bearer, Role, generate_keys
from fedtier.upstream import Upstream
from tests.authorities import Authority
from tests.tokens import signed

OPERATOR = "olivia"
_LONG: Final = timedelta(days=7)


class Guard:
    """Makes tokens and certificates.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    tls : bool
        Whether servers do TLS and want certificates of those who come; without it, tokens only.
    """

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        self._signing_key, verify_key = generate_keys()
        self._authority = Authority(folder / "certificates") if tls else None
        folder.mkdir(exist_ok=True)
        self._verify_keys = folder / "verify-key.pem"
        self._verify_keys.write_bytes(verify_key)
        self._made: dict[str, Tls] = {}
        self._signed: dict[tuple[Bearer, timedelta, str], str] = {}
        self._lock = threading.Lock()

    def token(self, role: Role, subject: str, *, lifetime: timedelta = _LONG, audience: str = DEFAULT_AUDIENCE) -> str:
        """Return somebody's token, the same each time; by default one that is good for as long as any test."""
        whose = Bearer(role, subject), lifetime, audience
        with self._lock:
            if whose not in self._signed:
                key = self._signing_key
                self._signed[whose] = signed(key, role, subject, lifetime=lifetime, audience=audience)
            return self._signed[whose]

    def tls(self, subject: str, *hosts: str) -> Tls:
        """Return the files of a certificate that names its subject, made with the hosts that come the first time."""
        if self._authority is None:
            return Tls()
        with self._lock:
            if subject not in self._made:
                self._made[subject] = self._authority.tls(*hosts, common=subject, file=subject)
            return self._made[subject]

    def upstream(self, url: str, role: Role, subject: str) -> Upstream:
        """Return a connection to a server, as somebody."""
        token = self.token(role, subject)
        return Upstream(url, token=lambda: token, tls=self.tls(subject))

    def server(self, name: str, host: str) -> dict[str, str]:
        """Return the variables of an aggregator."""
        strict = {} if self._authority is None else {"FEDTIER_REQUIRE_CLIENT_CERTS": "1"}
        keys = {"FEDTIER_VERIFY_KEYS": str(self._verify_keys)}
        return {**keys, **strict, **self._variables("worker", name, self.tls(name, host))}

    def caller(self, role: Role, subject: str) -> dict[str, str]:
        """Return the variables of a program that only asks."""
        return self._variables(role, subject, self.tls(subject))

    def asking(self) -> Mapping[str, Any]:
        """Return what `requests` needs to ask as an operator."""
        headers = {"Authorization": f"Bearer {self.token('operator', OPERATOR)}"}
        tls = self.tls(OPERATOR)
        if tls.pair is None:
            return {"headers": headers}
        return {"headers": headers, "verify": str(tls.ca_certs), "cert": tuple(map(str, tls.pair))}

    def _variables(self, role: Role, subject: str, tls: Tls) -> dict[str, str]:
        files = {"CERTFILE": tls.certfile, "KEYFILE": tls.keyfile, "CA_CERTS": tls.ca_certs}
        given = {f"FEDTIER_{name}": str(path) for name, path in files.items() if path is not None}
        return {"FEDTIER_TOKEN": self.token(role, subject), **given}
