"""What happens to a client and what it does then: the words that `participant` and `run` exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fedtier.problems import Problem
from fedtier.rounds import BaseRound, RoundStatus, UpdateReceipt


@dataclass(frozen=True, slots=True)
class SavedUpdate:
    """A trained update on this machine; it is durable before its last byte is sent.

    Parameters
    ----------
    round : int
    base_sha256 : str
        Of the model it was trained from.
    sha256 : str
        Of the update's file.
    num_examples : int
    metrics : Mapping of str to float
    """

    round: int
    base_sha256: str
    sha256: str
    num_examples: int
    metrics: Mapping[str, float]

    @property
    def key(self) -> tuple[int, str]:
        """What the update is for: at most one is trained per key."""
        return self.round, self.base_sha256


@dataclass(frozen=True, slots=True)
class RoundSeen:
    """The server said how the round stands."""

    status: RoundStatus


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A round's model lies on this machine, verified."""

    base: BaseRound


@dataclass(frozen=True, slots=True)
class Trained:
    """Training ended and its update is saved."""

    update: SavedUpdate


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server answered 200 to an update."""

    receipt: UpdateReceipt


@dataclass(frozen=True, slots=True)
class Refused:
    """The last step ended with a problem, after the retries that make sense."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class PutOff:
    """The server had the last step come again later, until there was no time left for it."""

    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The last step cannot be done: no answer in spite of retries, or trouble with this machine's disk.

    Where it has lost the update that was being sent, `lost` is true.
    """

    detail: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the client to end; the last step is over, or was broken off."""


Event: TypeAlias = RoundSeen | ModelReady | Trained | Accepted | Refused | PutOff | Failed | StopAsked


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Get the model, then say `ModelReady`."""

    base: BaseRound


@dataclass(frozen=True, slots=True)
class Train:
    """Train from the round's model, save the update, then say `Trained`."""

    plan: RoundStatus


@dataclass(frozen=True, slots=True)
class Upload:
    """Send the update, then say `Accepted`."""

    update: SavedUpdate


@dataclass(frozen=True, slots=True)
class Poll:
    """Wait about so many seconds, ask for the round, then say `RoundSeen`."""

    after: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End, and say why; `ok` is whether the client did what it was asked to."""

    reason: str
    ok: bool


Step: TypeAlias = FetchModel | Train | Upload | Poll | Stop


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the update: nobody will ask for it again."""

    update: SavedUpdate


@dataclass(frozen=True, slots=True)
class Tell:
    """A fact for the log.

    Parameters
    ----------
    event : {"counted", "round-over"}
        Counted in this attempt, or the round closed without such an answer.
    update : SavedUpdate
    attempt : int or None
    detail : str
    """

    event: Literal["counted", "round-over"]
    update: SavedUpdate
    attempt: int | None
    detail: str


Note: TypeAlias = Discard | Tell


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: notes first, which always succeed, then one step whose outcome is the next event."""

    step: Step
    notes: tuple[Note, ...] = ()
