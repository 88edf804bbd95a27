"""What TensorBoard itself reads in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_Reader: Final[Any] = EventAccumulator  # it has no types
Point: TypeAlias = tuple[int, float]


def accumulated(folder: Path) -> Any:
    """Return TensorBoard's own reader, with every point of the folder in it."""
    reader = _Reader(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    return reader


def read_scalars(folder: Path) -> dict[str, list[Point]]:
    """Return each tag's points, in the order of the file: step and value."""
    reader = accumulated(folder)
    return {tag: [(point.step, point.value) for point in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def steps(folder: Path, tag: str) -> list[int]:
    """Return the rounds of a tag, in the order of the file; empty where it has none."""
    return [step for step, _ in read_scalars(folder).get(tag, [])]
