"""A sender of TLS 1.3 that writes its records itself, since no library sends key updates in numbers (RFC 8446)."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE: Final = b"\x16"
_APPLICATION: Final = b"\x17"
_KEY_UPDATE: Final = b"\x18\x00\x00\x01\x00"
"""Which asks for none in return."""


class RecordWriter:
    """Writes the records of a client after its handshake, with AES-256-GCM.

    Parameters
    ----------
    secret : bytes
        The first traffic secret of the client.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._number = 0

    def key_update(self) -> bytes:
        """Return a record that says that the next one has another key."""
        record = self._record(_HANDSHAKE, _KEY_UPDATE)
        self._secret, self._number = _expand(self._secret, b"traffic upd", 48), 0
        return record

    def application(self, data: bytes) -> bytes:
        """Return a record of the application."""
        return self._record(_APPLICATION, data)

    def _record(self, kind: bytes, data: bytes) -> bytes:
        content = data + kind
        head = b"\x17\x03\x03" + struct.pack(">H", len(content) + 16)
        nonce = int.from_bytes(_expand(self._secret, b"iv", 12)) ^ self._number
        self._number += 1
        key = AESGCM(_expand(self._secret, b"key", 32))
        return head + key.encrypt(nonce.to_bytes(12), content, head)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    full = b"tls13 " + label
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)


@contextmanager
def written_by_hand(
    sock: socket.socket, context: ssl.SSLContext, folder: Path
) -> Iterator[tuple[socket.socket, ssl.SSLSocket, RecordWriter]]:
    """Come to terms over a connection, and yield it: plain to write records to, as TLS to read from.

    Parameters
    ----------
    sock : socket.socket
    context : ssl.SSLContext
        Of the client.
    folder : Path
        Where the secrets are noted.
    """
    secrets = folder / "secrets"
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(secrets)
    with sock, socket.socket(fileno=sock.dup().detach()) as plain:
        plain.settimeout(30)
        secure = context.wrap_socket(sock, server_hostname="127.0.0.1")
        assert secure.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        lines = secrets.read_text().splitlines()
        [secret] = (line.split()[2] for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0"))
        with secure:
            yield plain, secure, RecordWriter(bytes.fromhex(secret))
