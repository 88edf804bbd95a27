from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from infra.kubeflow.graph import COMPILED, PICTURE, Part, drawn, main, picture_of, read_parts

SVG = "{http://www.w3.org/2000/svg}"


def numbers(element: ElementTree.Element) -> tuple[int, int, int, int]:
    x, y, width, height = (int(element.get(name, "0")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_the_picture_is_that_of_the_compiled_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"

    result = CliRunner().invoke(main, ["--out", str(path)])

    assert result.exit_code == 0, result.output
    assert path.read_text() == PICTURE.read_text(), "draw it anew: python -m infra.kubeflow.graph"


def test_every_task_is_in_it_and_nothing_else_is_bold() -> None:
    root = ElementTree.fromstring(picture_of(COMPILED.read_text()))

    bold = [text.text for text in root.iter(f"{SVG}text") if text.get("font-weight") == "bold"]
    assert bold == ["Prepare data", "Start aggregators", "Train a client", "Show results", "Tear down"]
    shown = [text.text for text in root.iter(f"{SVG}text")]
    assert {"label distribution", "last accuracies", "accuracy table", "accuracy plot", "metrics", "model"} <= {*shown}


def test_boxes_lie_within_each_other_or_apart() -> None:
    root = ElementTree.fromstring(picture_of(COMPILED.read_text()))
    page, *boxes = [numbers(box) for box in root.iter(f"{SVG}rect")]
    shadows = 2

    crossing = [
        pair for pair in combinations(boxes, 2) if not (_within(*pair) or _within(pair[1], pair[0]) or _apart(*pair))
    ]
    assert all(_within(box, page) for box in boxes)
    assert len(crossing) == shadows * (shadows + 1) // 2, crossing


def test_what_runs_whatever_happens_has_a_dashed_arrow() -> None:
    picture = drawn(
        Part("all", parts=(Part("first"), Part("second"), Part("last", always=True)), follows=((), (0,), (1,)))
    )

    arrows = re.findall(r'<path d="M\d+ \d+ H\d+"[^>]*>', picture)
    assert ["dasharray" in arrow for arrow in arrows] == [False, True]


def test_an_arrow_is_from_the_nearest_only() -> None:
    def task(name: str, *before: str) -> dict[str, object]:
        return {"taskInfo": {"name": name}, "componentRef": {"name": "comp"}, "dependentTasks": list(before)}

    tasks = {"c": task("c", "a", "b"), "a": task("a"), "b": task("b", "a")}
    specification = {
        "pipelineInfo": {"displayName": "three"},
        "root": {"dag": {"tasks": tasks}},
        "components": {"comp": {"executorLabel": "exec"}},
    }

    parts = read_parts(specification)

    assert [part.title for part in parts.parts] == ["a", "b", "c"]
    assert parts.follows == ((), (0,), (1,))


def test_titles_are_text() -> None:
    assert "<b>&" not in drawn(Part("<b>&"))


def _within(inner: tuple[int, int, int, int], outer: tuple[int, int, int, int]) -> bool:
    return all(a >= b for a, b in zip(inner[:2], outer[:2], strict=True)) and all(
        a <= b for a, b in zip(inner[2:], outer[2:], strict=True)
    )


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
