"""Certificate authorities of tests, and the PEM files of what they sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme

from fedtier.tls import Tls

HOST: Final = "127.0.0.1"


class Authority:
    """Signs certificates; all its files lie in one folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def pair(self, *names: str, common: str | None = None, days: float = 1, file: str = "own") -> tuple[Path, Path]:
        """Write a certificate and its key; after negative days it has expired.

        Parameters
        ----------
        *names : str
            Hosts, addresses or ids.
        common : str, optional
            The common name.
        days : float
            From now until it ends; it began three days ago.
        file : str
            Tells its files from those of others.
        """
        now = datetime.now(UTC)
        leaf = self._ca.issue_cert(
            *names, common_name=common, not_before=now - timedelta(days=3), not_after=now + timedelta(days=days)
        )
        certfile, keyfile = self._folder / f"{file}.pem", self._folder / f"{file}-key.pem"
        certfile.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(keyfile))
        return certfile, keyfile

    def tls(self, *names: str, common: str | None = None, days: float = 1, file: str = "own") -> Tls:
        """Return what a program is given that has such a certificate and believes this authority."""
        return Tls(*self.pair(*names, common=common, days=days, file=file), self.certificate)

    @property
    def believed(self) -> Tls:
        """What a program is given that believes this authority, and shows nothing of itself."""
        return Tls(ca_certs=self.certificate)
