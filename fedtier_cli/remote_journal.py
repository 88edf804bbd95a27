"""What clients on other hosts say, read from the journals there. Pure: lines in, facts and log lines out.

A client's unit writes its facts and its log to its host's journal; ``journalctl`` there prints entries as JSON.
Entries of the host's first process are read too: they say how a client ended that could not say so itself, and since
there always are some, the first line shows that nothing is missed from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fedtier.documents import json_object

_PROCESS_EXIT: Final = "98e322203f7a4ed290d09fe03c09fe15"
"""MESSAGE_ID of systemd, SD_MESSAGE_UNIT_PROCESS_EXIT: a unit's process ended badly."""
_FIELDS: Final = ("MESSAGE", "MESSAGE_ID", "_SYSTEMD_UNIT", "UNIT", "EXIT_CODE", "EXIT_STATUS")
_INIT: Final = "_PID=1"


class Journal:
    """The journal of one host, over as many connections as it takes.

    Parameters
    ----------
    client_ids : sequence of str
        Of the clients that run there.
    """

    def __init__(self, client_ids: Sequence[str]) -> None:
        self._clients = {unit_of(client): client for client in client_ids}
        self._cursor: str | None = None
        self._is_new = True

    def connect(self) -> list[str]:
        """Return the call that follows the journal, from where the connection before ended."""
        self._is_new = True
        # The entry before is asked for too: it shows at once that the rest will come.
        start = ["--lines=1"] if self._cursor is None else ["--no-tail", f"--cursor={self._cursor}"]
        units = [f"_SYSTEMD_UNIT={unit}" for unit in self._clients]
        fields = ",".join(_FIELDS)
        words = ["journalctl", "--follow", "--all", "--quiet", "--output=json", f"--output-fields={fields}"]
        return [*words, *start, _INIT, "+", *units]

    def read(self, line: bytes) -> list[Mapping[str, Any] | bytes]:
        """Return the facts in a line, and what is to be kept of it in a log.

        Beside what clients say, ``following`` is the fact that the journal is listened to, and ``exited`` that a
        client's process ended badly: with a ``status``, or where ``code`` is another than ``exited``, by a signal.
        """
        entry = json_object(line)
        cursor = entry.get("__CURSOR")
        if not isinstance(cursor, str):
            return [line]
        was_seen = self._is_new and self._cursor in (None, cursor)
        said: list[Mapping[str, Any] | bytes] = [{"event": "following"}] if self._is_new else []
        self._cursor, self._is_new = cursor, False
        return said if was_seen else [*said, *self._said(entry)]

    def _said(self, entry: Mapping[str, Any]) -> list[Mapping[str, Any] | bytes]:
        """Return what a client says, or what its host's first process says of it."""
        own = self._clients.get(str(entry.get("_SYSTEMD_UNIT")))
        client = own or self._clients.get(str(entry.get("UNIT")))
        if client is None:
            return []
        text = _text(entry.get("MESSAGE"))
        members = json_object(text)
        # The log is JSON too, and has a level.
        if own is not None and isinstance(members.get("event"), str) and "level" not in members:
            return [{**members, "client_id": own}]
        line = f"{client}: ".encode() + text + b"\n"
        if own is None and entry.get("MESSAGE_ID") == _PROCESS_EXIT:
            end = {"event": "exited", "client_id": client, "code": entry.get("EXIT_CODE"), "status": _status(entry)}
            return [line, end]
        return [line]


def unit_of(client: str) -> str:
    """Return the unit that runs a client."""
    return f"fedtier-client@{client}.service"


def _status(entry: Mapping[str, Any]) -> int:
    """Return the exit status, or the number of the signal."""
    try:
        return int(entry.get("EXIT_STATUS", ""))
    except ValueError:
        return -1


def _text(message: object) -> bytes:
    """Return an entry's text: journals give what is no plain text as numbers."""
    if isinstance(message, list):
        return bytes(number for number in message if isinstance(number, int) and 0 <= number <= 255)
    return message.encode(errors="replace") if isinstance(message, str) else b""
