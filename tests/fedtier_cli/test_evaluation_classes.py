"""What is shown of single classes: the table, and the picture of the confusion matrix."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from fedtier.evaluations import Confusion
from fedtier_cli.class_table import ClassScore, class_scores, class_table, worst_of
from fedtier_cli.confusion_picture import confusion_figure
from fedtier_cli.drawing import write_picture
from tests.fedtier_cli.picture_colours import pixels_of_each_colour

ANIMALS = Confusion(labels=("cat", "[red]dog", "$fox$"), counts=((7, 1, 2), (0, 5, 0), (0, 0, 0)))


def confusion_of(classes: int, examples: int, *, right: float = 0.6) -> Confusion:
    rng = np.random.default_rng(classes)
    parts = [right * row + (1 - right) * rng.dirichlet(np.ones(classes)) for row in np.eye(classes)]
    counts = tuple(tuple(map(int, rng.multinomial(examples, part))) for part in parts)
    return Confusion(labels=tuple(f"class {number}" for number in range(classes)), counts=counts)


class TestTable:
    def test_it_says_examples_accuracy_and_the_commonest_mistake(self) -> None:
        assert class_scores(ANIMALS) == [
            ClassScore("cat", 10, 0.7, "$fox$", 2),
            ClassScore("[red]dog", 5, 1.0, None, 0),
            ClassScore("$fox$", 0, None, None, 0),
        ]

    @given(st.integers(2, 5).flatmap(lambda k: st.lists(st.tuples(*[st.integers(0, 9)] * k), min_size=k, max_size=k)))
    def test_no_mistake_is_more_common_than_the_one_named(self, counts: list[tuple[int, ...]]) -> None:
        confusion = Confusion(labels=tuple("abcde"[: len(counts)]), counts=tuple(counts))
        for number, score in enumerate(class_scores(confusion)):
            wrong = {confusion.labels[said]: count for said, count in enumerate(counts[number]) if said != number}
            assert score.mistakes == max(wrong.values())
            assert score.mistake is None or wrong[score.mistake] == score.mistakes > 0

    def test_of_many_classes_the_worst_are_shown_worst_first(self) -> None:
        scores = class_scores(confusion_of(100, 50))
        shown = worst_of(scores)
        assert len(shown) == 10
        hidden = [score.accuracy or 0 for score in scores if score not in shown]
        accuracies = [score.accuracy or 0 for score in shown]
        assert accuracies == sorted(accuracies)
        assert accuracies[-1] <= min(hidden)

    def test_labels_are_text_and_no_markup(self) -> None:
        console = Console(width=100)
        with console.capture() as printed:
            console.print(class_table(4, ANIMALS))
        assert "round 4, class by class" in printed.get()
        assert re.search(r"\[red\]dog +5 +100.00%", printed.get())
        assert re.search(r"cat +10 +70.00% +\$fox\$, 2 times", printed.get())


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


class TestPicture:
    @pytest.mark.parametrize("classes", [2, 10, 100, 250])
    def test_a_png_shows_every_class_in_colour(self, tmp_path: Path, classes: int) -> None:
        write_picture(tmp_path / "c.png", confusion_figure(3, confusion_of(classes, 40), 0.6), "--confusion")
        pixels = matplotlib.image.imread(tmp_path / "c.png")
        assert 400 < pixels.shape[0] < 2500
        assert 400 < pixels.shape[1] < 2500
        assert len(pixels_of_each_colour(pixels)) > 50

    def test_rows_are_parts_of_their_class(self) -> None:
        image = confusion_figure(3, ANIMALS, None).axes[0].images[0].get_array()
        assert isinstance(image, np.ndarray)
        np.testing.assert_allclose(image[:2], [[0.7, 0.1, 0.2], [0.0, 1.0, 0.0]])
        assert np.ma.masked_invalid(image[2]).mask.all()

    def test_counts_stand_in_the_cells_where_they_fit(self) -> None:
        assert sorted(texts_of(confusion_figure(3, ANIMALS, None))) == ["1", "2", "5", "7", "no examples"]
        assert len(texts_of(confusion_figure(3, confusion_of(10, 1000), None))) > 50
        assert texts_of(confusion_figure(3, confusion_of(100, 1000), None)) == []

    def test_no_two_labels_overlap(self) -> None:
        for classes in (10, 100, 250):
            figure = confusion_figure(3, confusion_of(classes, 40), None)
            figure.draw_without_rendering()
            axes = figure.axes[0]
            shown = [label.get_window_extent() for label in axes.get_xticklabels()]
            assert not any(left.x1 > right.x0 for left, right in itertools.pairwise(shown))
            # An upright box has room above and below the letters, which may touch the next one's.
            places = [label.get_window_extent() for label in axes.get_yticklabels()]
            heights = [abs(upper.y0 - lower.y0) for upper, lower in itertools.pairwise(places)]
            assert min(heights) > 0.75 * places[0].height

    def test_the_title_says_round_accuracy_and_examples(self) -> None:
        assert confusion_figure(3, ANIMALS, 0.8).axes[0].get_title() == "round 3: accuracy 80.00%, 15 test examples"
        assert confusion_figure(3, ANIMALS, None).axes[0].get_title() == "round 3, 15 test examples"

    @pytest.mark.parametrize("name", ["c.png", "c.svg"])
    def test_the_same_matrix_gives_the_same_bytes(self, tmp_path: Path, name: str) -> None:
        write_picture(tmp_path / name, confusion_figure(3, ANIMALS, 0.8), "--confusion")
        first = (tmp_path / name).read_bytes()
        write_picture(tmp_path / name, confusion_figure(3, ANIMALS, 0.8), "--confusion")
        assert (tmp_path / name).read_bytes() == first
        assert len(list(tmp_path.iterdir())) == 1

    def test_an_svg_has_labels_as_text(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "c.svg", confusion_figure(3, ANIMALS, 0.8), "--confusion")
        svg = (tmp_path / "c.svg").read_text()
        assert ">$fox$</text>" in svg
        assert ">true class</text>" in svg
