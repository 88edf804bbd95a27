"""What a training run is to reach. Pure: test results in, the first that reaches it out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fedtier.problems import StartupError
from fedtier_cli.evaluation import RoundScore

_METRIC: Final = "accuracy"


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a run ends.

    Parameters
    ----------
    last_round : int
        The round to publish, unless the target is reached before.
    target : float or None
        Accuracy on the test data, from 0 to 1.
    """

    last_round: int
    target: float | None = None

    def is_reached_by(self, score: RoundScore) -> bool:
        """Return whether a round's accuracy is the target or more; False where there is no target.

        Raises
        ------
        StartupError
            There is a target, and the task does not report an accuracy.
        """
        return self.target is not None and accuracy(score) >= self.target

    def first_reached(self, scores: Iterable[RoundScore]) -> RoundScore | None:
        """Return the first round that reaches the target, or None.

        Raises
        ------
        StartupError
        """
        return next((score for score in scores if self.is_reached_by(score)), None)

    def reached(self, score: RoundScore, *, already: bool = False) -> str:
        """Return the sentence for a round that reached the target."""
        when = " already" if already else ""
        return f"round {score.round} reached the target{when}: accuracy {_percent(accuracy(score))}, {self._wanted}"

    def missed(self, scores: Iterable[RoundScore]) -> str:
        """Return the sentence for an end without the target."""
        best = max(scores, key=accuracy, default=None)
        found = "" if best is None else f": the best is round {best.round}, accuracy {_percent(accuracy(best))}"
        return f"the target is not reached by round {self.last_round}{found}, {self._wanted}"

    @property
    def _wanted(self) -> str:
        return f"wanted {_percent(self.target or 0.0)}"


def accuracy(score: RoundScore) -> float:
    """Return the accuracy of a round's model, from 0 to 1.

    Raises
    ------
    StartupError
        The task does not report one.
    """
    if _METRIC not in score.metrics:
        names = ", ".join(score.metrics) or "nothing"
        raise StartupError(
            f"--target is an accuracy, and the task reports {names}; make evaluate return one, or leave --target out"
        )
    return score.metrics[_METRIC]


def _percent(part: float) -> str:
    """Return a part so that 96.996% is not 97%."""
    return f"{100 * part:.6g}%"
