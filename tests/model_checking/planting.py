"""How a planted bug is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]

_MOST: Final = 3000
"""Histories that are looked at until a bug is found."""


def look(machine: type[RuleBasedStateMachine], histories: int = _MOST) -> None:
    """Look at histories of a machine, the same ones each time, until something is found."""
    chosen = settings(
        machine.TestCase.settings,
        max_examples=histories,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        print_blob=False,
    )
    run_state_machine_as_test(machine, settings=chosen)


def require_found(machine: type[RuleBasedStateMachine], claims: tuple[str, ...]) -> None:
    """Require that something is found, and that it breaks one of these claims."""
    with pytest.raises(AssertionError, match=f"^({'|'.join(claims)})"):
        look(machine)
