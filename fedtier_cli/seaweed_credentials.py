"""The one identity that the embedded S3 server knows, and the file from which the server reads it."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedtier.problems import StartupError


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """An access key and its secret; without a `repr`, so that no log shows them."""

    access_key: str
    secret_key: str

    @classmethod
    def new(cls) -> Credentials:
        """Return random ones."""
        return cls(secrets.token_hex(10).upper(), secrets.token_urlsafe(30))

    @classmethod
    def saved(cls, path: Path) -> Credentials | None:
        """Return those of an earlier `save`, or None where there was none.

        Raises
        ------
        StartupError
            The file holds something else.
        """
        try:
            [identity] = json.loads(path.read_bytes())["identities"]
            [pair] = identity["credentials"]
            return cls(pair["accessKey"], pair["secretKey"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise StartupError(f"the S3 server's credentials in {path} cannot be read; delete the file") from None

    def save(self, path: Path) -> None:
        """Write SeaweedFS' identity file, for this user's eyes only: it may use the buckets, not make or drop them."""
        pair = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identity = {"name": "fedtier", "credentials": [pair], "actions": ["Read", "Write", "List", "Tagging"]}
        descriptor, name = tempfile.mkstemp(dir=path.parent)  # its mode is 0600 from the start
        with os.fdopen(descriptor, "w") as file:
            json.dump({"identities": [identity]}, file)
        Path(name).replace(path)
