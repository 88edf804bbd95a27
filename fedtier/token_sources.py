"""The tokens that this program presents: from a variable, or from a file that may be renewed while it runs.

They have no flag: flags show in the list of processes. A text may hold several tokens, one
per client that this process plays; each client presents the one whose ``sub`` is its name.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from fedtier.claims import unverified_claims
from fedtier.problems import StartupError

TokenSource: TypeAlias = Callable[[], str | None]
"""Returns the token to present with the next request; None presents none."""
TOKEN: Final = "FEDTIER_TOKEN"  # noqa: S105 -- the name of a variable
TOKEN_FILE: Final = "FEDTIER_TOKEN_FILE"  # noqa: S105 -- the name of a variable
_Seen: TypeAlias = tuple[int, int, int]
"""What tells a file from the one that was read."""
_WARN_WITHIN: Final = timedelta(days=7)
_WARN_PART: Final = 0.2
_LATEST: Final = 1e11
_VISIBLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where tokens come from.

    Parameters
    ----------
    text : str
        The tokens themselves; empty where a file holds them.
    file : Path, optional
    """

    text: str = field(default="", repr=False)
    file: Path | None = None

    @property
    def name(self) -> str:
        """What a sentence calls it, without any token."""
        return TOKEN if self.file is None else f"the file {self.file}"


def log_warning(sentence: str) -> None:
    """Log what needs somebody's attention; for programs that go on for long."""
    structlog.get_logger().warning("the token needs attention", reason=sentence)


def token_place(environment: Mapping[str, str] = os.environ) -> TokenPlace | None:
    """Return where this program's tokens are: ``FEDTIER_TOKEN`` or the file that ``FEDTIER_TOKEN_FILE`` names.

    Raises
    ------
    StartupError
        Both are set.
    """
    text, file = environment.get(TOKEN, "").strip(), environment.get(TOKEN_FILE, "").strip()
    if text and file:
        raise StartupError(f"{TOKEN} and {TOKEN_FILE} are both set; leave one of them out")
    if file:
        return TokenPlace(file=Path(file))
    return TokenPlace(text) if text else None


def single_token(
    place: TokenPlace | None, *, warn: Callable[[str], None], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> TokenSource | None:
    """Return the source of the one token that is there; None without a place.

    Parameters
    ----------
    place : TokenPlace or None
    warn : callable
        Gets a sentence about what needs somebody's attention.
    now : callable

    Raises
    ------
    StartupError
        There is none, or more than one, or the file cannot be read.
    """
    if place is None:
        return None
    source = Tokens(place, _only, warn=warn, now=now)
    _warn_of_readers(place, warn)
    return source


def client_tokens(
    place: TokenPlace | None,
    client_ids: Sequence[str],
    *,
    warn: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, TokenSource | None]:
    """Return each client's source of its token.

    Parameters
    ----------
    place : TokenPlace or None
    client_ids : sequence of str
        That this process plays.
    warn : callable
    now : callable

    Raises
    ------
    StartupError
        A client has none, or the file cannot be read.
    """
    if place is None:
        return dict.fromkeys(client_ids)
    alone = len(client_ids) == 1
    sources: dict[str, TokenSource | None] = {}
    for client_id in client_ids:
        source = Tokens(place, _of_client(client_id, alone=alone), warn=warn, now=now)
        subject = unverified_claims(source()).get("sub")
        if isinstance(subject, str) and subject != client_id:
            warn(f"{place.name} is a token of {subject!r}, not of {client_id!r}; the server will refuse its updates")
        sources[client_id] = source
    _warn_of_readers(place, warn)
    return sources


def _warn_of_readers(place: TokenPlace, warn: Callable[[str], None]) -> None:
    """Say where a file is for everybody to read; a group may, as it has to where secrets are mounted."""
    if place.file is not None and os.name == "posix" and place.file.stat().st_mode & stat.S_IROTH:
        warn(f"{place.name} can be read by everybody on this machine; chmod 600 {place.file}")


class Tokens:
    """One bearer's token; a file is read again when it changes.

    While what a changed file holds cannot be used, the token that was there is presented.

    Parameters
    ----------
    place : TokenPlace
    choose : callable
        Returns the bearer's token of those that are there; raises `StartupError`.
    warn : callable
    now : callable
    """

    def __init__(
        self,
        place: TokenPlace,
        choose: Callable[[Sequence[str], str], str],
        *,
        warn: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._place = place
        self._choose = choose
        self._warn = warn
        self._now = now
        self._warned: set[str] = set()
        self._token = ""
        self._seen = self._look()
        self._take(self._chosen())

    def __call__(self) -> str:
        """Return the token to present now."""
        try:
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._take(self._chosen())
        except StartupError as error:
            self._warn_once(f"{error}; the token that was read before is presented further")
        if self._now().timestamp() >= self._warn_from:
            self._warn_once(self._end_in_words())
        return self._token

    def _look(self) -> _Seen | None:
        if self._place.file is None:
            return None
        try:
            found = self._place.file.stat()
        except OSError as error:
            raise _unreadable(self._place, error) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _chosen(self) -> str:
        return self._choose(_read(self._place), self._place.name)

    def _take(self, token: str) -> None:
        if token != self._token:
            self._warned.clear()
        self._token = token
        self._warn_from = _warning_time(token)

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._warn(sentence)

    def _end_in_words(self) -> str:
        end = datetime.fromtimestamp(_end(self._token), UTC)
        subject = unverified_claims(self._token).get("sub")
        verb = "expired" if end <= self._now() else "expires"
        renew = "put a new one there" if self._place.file else f"start again with a new one, or use {TOKEN_FILE}"
        return f"the token of {subject!r} in {self._place.name} {verb} at {end:%Y-%m-%d %H:%M} UTC; {renew}"


def _read(place: TokenPlace) -> list[str]:
    try:
        text = place.text if place.file is None else place.file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(place, error) from None
    tokens = text.split()
    if not tokens:
        raise StartupError(f"{place.name} holds no token; put there what fedtier token prints")
    if not all(_VISIBLE.fullmatch(token) for token in tokens):
        raise StartupError(f"{place.name} holds something else than tokens; put there what fedtier token prints")
    return tokens


def _unreadable(place: TokenPlace, error: OSError | UnicodeDecodeError) -> StartupError:
    reason = error.strerror if isinstance(error, OSError) else "it is no text"
    return StartupError(f"{place.name} cannot be read ({reason}); check {TOKEN_FILE}")


def _only(tokens: Sequence[str], where: str) -> str:
    if len(tokens) > 1:
        raise StartupError(f"{where} holds {len(tokens)} tokens, and this program presents one; leave the others out")
    return tokens[0]


def _of_client(client_id: str, *, alone: bool) -> Callable[[Sequence[str], str], str]:
    def choose(tokens: Sequence[str], where: str) -> str:
        own = [token for token in tokens if unverified_claims(token).get("sub") == client_id]
        if own:
            return max(own, key=_end)
        if alone and len(tokens) == 1:
            return tokens[0]
        raise StartupError(
            f"{where} holds no token of {client_id}, but {len(tokens)} of others; add what "
            f"fedtier token --role client --subject {client_id} prints"
        )

    return choose


def _end(token: str) -> float:
    """Return the time at which a token ends, in seconds since 1970; infinity where it does not say."""
    end = _seconds(unverified_claims(token).get("exp"))
    return math.inf if end is None else end


def _warning_time(token: str) -> float:
    """Return from when on the end of a token is near: when a fifth of its life is left, a week at most."""
    end, begin = _end(token), _seconds(unverified_claims(token).get("iat"))
    life = math.inf if begin is None else max(end - begin, 0.0)
    return end - min(_WARN_PART * life, _WARN_WITHIN.total_seconds())


def _seconds(claim: object) -> float | None:
    """Return a time in a token, where it is one that a date can hold."""
    return float(claim) if isinstance(claim, int | float) and 0 <= claim < _LATEST else None
