"""``python -m infra.kubeflow.graph``: draws the compiled pipeline.

In: the pipeline's specification, as YAML. Out: an SVG with a box for each task, what it leaves, and what has to end
before it begins. Groups of tasks are boxes around them.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import yaml

_HERE: Final = Path(__file__).parent
COMPILED: Final = _HERE / "pipeline.yaml"
PICTURE: Final = _HERE.parents[1] / "docs" / "pictures" / "kubeflow-pipeline.svg"

_ALWAYS: Final = "ALL_UPSTREAM_TASKS_COMPLETED"
_COLOURS: Final = 'fill="#eef3fa" stroke="#1f5fa8"'
_ALWAYS_COLOURS: Final = 'fill="#edf6f0" stroke="#2e7d4f"'
_GREY: Final = 'fill="#555555"'
_TASK_WIDTH: Final = 150
_LINE: Final = 19
_TASK_HEAD: Final = 34
_GROUP_HEAD: Final = 34
_PADDING: Final = 18
_BETWEEN: Final = 40
_LEGEND: Final = 30
_BEHIND: Final = 5
"""How far the boxes of a loop's other turns stand out behind the first."""


@dataclass(frozen=True, slots=True)
class Part:
    """A task, or a group of them.

    Parameters
    ----------
    title : str
    lines : tuple of str
        What it leaves to be looked at.
    parts : tuple of Part
        Of a group, in an order in which they may begin.
    follows : tuple of tuple of int
        For each of `parts`, the places of those that have to end before.
    is_repeated : bool
        Whether it is done once for each of several values.
    always : bool
        Whether it is done, too, when what is before it failed.
    """

    title: str
    lines: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    follows: tuple[tuple[int, ...], ...] = ()
    is_repeated: bool = False
    always: bool = False

    @property
    def width(self) -> int:
        """Of its box, in pixels."""
        if not self.parts:
            return _TASK_WIDTH
        inner = sum(part.width for part in self.parts) + _BETWEEN * (len(self.parts) - 1)
        return inner + 2 * _PADDING + self._behind

    @property
    def height(self) -> int:
        """Of its box, in pixels."""
        if not self.parts:
            return _TASK_HEAD + len(self.lines) * _LINE + (10 if self.lines else 6)
        return max(part.height for part in self.parts) + _GROUP_HEAD + _PADDING + self._behind

    @property
    def _behind(self) -> int:
        return 2 * _BEHIND if self.is_repeated else 0


def read_parts(specification: Mapping[str, Any]) -> Part:
    """Return all that a pipeline does.

    Parameters
    ----------
    specification : Mapping
        Of a compiled pipeline.
    """
    return _group(specification["pipelineInfo"].get("displayName", ""), specification["root"]["dag"], specification)


def _group(title: str, dag: Mapping[str, Any], specification: Mapping[str, Any], *, repeated: bool = False) -> Part:
    tasks = dag["tasks"]
    order = _in_order(tasks)
    parts = tuple(_part(tasks[name], specification) for name in order)
    if len(parts) == 1 and parts[0].parts and not repeated:
        return parts[0]  # two boxes around the same things tell nothing
    follows = tuple(tuple(order.index(before) for before in _nearest(name, tasks)) for name in order)
    return Part(title, parts=parts, follows=follows, is_repeated=repeated)


def _part(task: Mapping[str, Any], specification: Mapping[str, Any]) -> Part:
    component = specification["components"][task["componentRef"]["name"]]
    title = task["taskInfo"]["name"]
    if "dag" in component:
        return _group(title, component["dag"], specification, repeated="parameterIterator" in task)
    artifacts = component.get("outputDefinitions", {}).get("artifacts", {})
    always = task.get("triggerPolicy", {}).get("strategy") == _ALWAYS
    return Part(title, lines=tuple(name.replace("_", " ") for name in artifacts), always=always)


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    """Return the tasks' names, each after those that it follows."""
    order: list[str] = []
    while len(order) < len(tasks):
        order.append(next(name for name in tasks if name not in order and set(_before(name, tasks)) <= set(order)))
    return order


def _before(name: str, tasks: Mapping[str, Any]) -> list[str]:
    return list(tasks[name].get("dependentTasks", []))


def _nearest(name: str, tasks: Mapping[str, Any]) -> list[str]:
    """Return what a task follows, without what one of those follows already."""

    def all_before(one: str) -> set[str]:
        found = set(_before(one, tasks))
        return found.union(*(all_before(before) for before in found))

    before = _before(name, tasks)
    return [one for one in before if not any(one in all_before(other) for other in before)]


def drawn(part: Part) -> str:
    """Return the picture, as SVG.

    Parameters
    ----------
    part : Part
    """
    width, height = part.width + 2 * _PADDING, part.height + 2 * _PADDING + _LEGEND
    line = height - _LEGEND
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'  <rect width="{width}" height="{height}" fill="#ffffff"/>',
        '  <defs><marker id="next" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 10 5 0 10z" fill="#1f5fa8"/></marker></defs>',
        *_box(part, _PADDING, _PADDING),
        _rectangle(_PADDING, line, 26, 16, _ALWAYS_COLOURS),
        _text(_PADDING + 34, line + 13, "runs whatever came of what is before it", _GREY),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(part: Part, left: int, top: int) -> Iterator[str]:
    if not part.parts:
        yield from _task(part, left, top)
        return
    behind = 2 * _BEHIND if part.is_repeated else 0
    width, height = part.width - behind, part.height - behind
    for shift in range(behind, -1, -_BEHIND):
        yield _rectangle(left + shift, top + shift, width, height, 'fill="#ffffff" stroke="#9aa7b5"')
    yield _text(left + _PADDING, top + 23, part.title, _GREY)
    middle = top + _GROUP_HEAD + (height - _GROUP_HEAD - _PADDING) // 2
    places: list[tuple[int, int]] = []
    across = left + _PADDING
    for one in part.parts:
        places.append((across, middle - one.height // 2))
        across += one.width + _BETWEEN
    for one, (x, y) in zip(part.parts, places, strict=True):
        yield from _box(one, x, y)
    yield from _arrows(part, places, middle)


def _task(part: Part, left: int, top: int) -> Iterator[str]:
    yield _rectangle(left, top, part.width, part.height, _ALWAYS_COLOURS if part.always else _COLOURS)
    yield _text(left + part.width // 2, top + 25, part.title, 'text-anchor="middle" font-weight="bold" fill="#222222"')
    for number, line in enumerate(part.lines, start=1):
        place = 'text-anchor="middle" font-size="12" fill="#444444"'
        yield _text(left + part.width // 2, top + 25 + number * _LINE, line, place)


def _arrows(part: Part, places: Sequence[tuple[int, int]], middle: int) -> Iterator[str]:
    for number, before in enumerate(part.follows):
        for one in before:
            start = places[one][0] + part.parts[one].width
            dashes = ' stroke-dasharray="5 4"' if part.parts[number].always else ""
            yield (
                f'  <path d="M{start + 3} {middle} H{places[number][0] - 3}" fill="none" stroke="#1f5fa8" '
                f'stroke-width="1.5"{dashes} marker-end="url(#next)"/>'
            )


def _rectangle(left: int, top: int, width: int, height: int, colours: str) -> str:
    return f'  <rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" {colours} stroke-width="1.5"/>'


def _text(left: int, top: int, text: str, how: str) -> str:
    return f'  <text x="{left}" y="{top}" {how}>{html.escape(text)}</text>'


def picture_of(compiled: str) -> str:
    """Return the picture of a compiled pipeline.

    Parameters
    ----------
    compiled : str
        Its YAML; what only Kubernetes has to know may follow in a second document.
    """
    specification, *_ = yaml.safe_load_all(compiled)
    return drawn(read_parts(specification))


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=PICTURE, help="Where it goes.")
def main(out: Path) -> None:
    """Draw the compiled pipeline."""
    out.write_text(picture_of(COMPILED.read_text(encoding="utf-8")), encoding="utf-8")
    click.echo(f"written to {out}")


if __name__ == "__main__":
    main()
