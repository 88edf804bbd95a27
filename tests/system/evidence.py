"""All that a federation leaves behind or shows of itself, searched for secrets in every form they could take."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import requests

from tests.s3_servers import S3Server

SIGNATURES: Final = (b"x-amz-signature", b"x-amz-credential", b"x-amz-security-token")
"""What only a presigned URL holds, in lower case."""
_SHORTEST: Final = 16
"""Bytes of a part of a secret that cannot stand anywhere by chance."""


class Secrets:
    """What must not be found, by name.

    Parameters
    ----------
    known : Mapping of str to str
        Tokens, keys, passwords; of a token also its parts count, of a key in PEM its lines.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._needles = {
            (name, needle)
            for name, secret in known.items()
            for part in _parts(secret)
            for needle in _forms(part.encode())
        }

    def found_in(self, content: bytes) -> set[str]:
        """Return the names of secrets in some bytes."""
        found = {name for name, needle in self._needles if needle in content}
        lower = content.lower()
        return found | {"a presigned URL" for mark in SIGNATURES if mark in lower}


def _parts(secret: str) -> set[str]:
    pieces = {secret, *secret.split("."), *(line for line in secret.splitlines() if not line.startswith("-----"))}
    # The head of a token is the same in all; what it says of its bearer stands in logs as well, by itself.
    return {piece for piece in pieces if len(piece) >= _SHORTEST and not piece.startswith("eyJhbGci")} | {secret}


def _forms(secret: bytes) -> Iterator[bytes]:
    text = secret.decode()
    yield secret
    yield secret.hex().encode()
    yield json.dumps(text)[1:-1].encode()
    yield quote(text, safe="").encode()
    yield quote(text).encode()
    yield quote_plus(text).encode()
    yield repr(text)[1:-1].encode()
    yield from _base64(secret)


def _base64(secret: bytes) -> Iterator[bytes]:
    """Yield what of it stands in the middle of a base64 text, wherever in there it begins."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        middle = encoded[4 if before else 0 : -4]
        if len(middle) >= _SHORTEST:
            yield middle
            yield middle.translate(bytes.maketrans(b"+/", b"-_"))


class Evidence:
    """What was seen, by where it was."""

    def __init__(self) -> None:
        self._seen: dict[str, bytes] = {}

    def add(self, where: str, content: bytes) -> None:
        """Keep what was seen somewhere, beside what was seen there before."""
        self._seen[where] = self._seen.get(where, b"") + b"\n" + content

    def add_answer(self, answer: requests.Response) -> None:
        """Keep an answer, headers and all; the address of a redirect is what it is for."""
        headers = {name: value for name, value in answer.headers.items() if name != "Location"}
        self.add(f"answer {answer.status_code} of {answer.request.path_url}", f"{headers}\n".encode() + answer.content)

    def add_process(self, pid: int) -> None:
        """Keep what every user of the machine sees of a process and its threads and children."""
        try:
            folder = Path(f"/proc/{pid}")
            self.add(f"command line of {pid}", (folder / "cmdline").read_bytes())
            for thread in (folder / "task").iterdir():
                self.add(f"title of {pid}", (thread / "comm").read_bytes())
                for child in (thread / "children").read_text().split():
                    self.add_process(int(child))
        except FileNotFoundError:
            return  # ended meanwhile

    def add_folder(self, folder: Path) -> None:
        """Keep every file, with its name."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.add(f"file {path.relative_to(folder)}", str(path).encode() + b"\n" + path.read_bytes())

    def add_bucket(self, s3: S3Server) -> None:
        """Keep every object, with its key and what is kept beside it."""
        pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket)
        for key in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
            stored = s3.client.get_object(Bucket=s3.bucket, Key=key)
            beside = json.dumps({"key": key, "type": stored["ContentType"], "metadata": stored["Metadata"]})
            self.add(f"object {key}", beside.encode() + b"\n" + stored["Body"].read())

    @property
    def places(self) -> list[str]:
        """Where something was seen."""
        return sorted(self._seen)

    def found(self, secrets: Secrets, kind: str = "") -> dict[str, set[str]]:
        """Return which secrets were seen where, of places of a kind."""
        searched = {where: secrets.found_in(content) for where, content in self._seen.items() if where.startswith(kind)}
        return {where: names for where, names in searched.items() if names}

    def text(self, where: str) -> str:
        """Return what was seen somewhere."""
        return self._seen[where].decode(errors="replace")
