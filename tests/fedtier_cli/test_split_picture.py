from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fedtier_cli.drawing import write_picture
from fedtier_cli.label_picture import label_figure
from tests.fedtier_cli.picture_colours import pixels_of_each_colour

NAMES = tuple("0123456789")


def few_labels_each(clients: int) -> npt.NDArray[np.int64]:
    """Client k has labels k and k + 3, a different number of each."""
    counts = np.zeros((clients, len(NAMES)), np.int64)
    for client in range(clients):
        counts[client, client % 10] = 1 + client
        counts[client, (client + 3) % 10] += 50
    return counts


def picture_of(figure: Figure, path: Path) -> npt.NDArray[Any]:
    write_picture(path, figure, "--saved_dir")
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    pixels: npt.NDArray[Any] = matplotlib.image.imread(path)[..., :3]
    return pixels


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


@pytest.mark.parametrize("clients", [1, 2, 10, 30, 31, 100, 500])
def test_a_picture_has_a_size_that_can_be_looked_at_and_all_colours(clients: int, tmp_path: Path) -> None:
    pixels = picture_of(label_figure(few_labels_each(clients), NAMES, title="all"), tmp_path / "labels.png")
    height, width, _ = pixels.shape
    assert 500 <= height <= 2600
    assert 900 <= width <= 1800
    assert 0.05 < (pixels < 0.95).any(axis=2).mean() < 0.95
    assert (pixels_of_each_colour(pixels) > 100).sum() > min(2 * clients, len(NAMES))


def test_each_client_has_a_bar_of_the_lengths_of_its_labels() -> None:
    counts = few_labels_each(10)
    bars = label_figure(counts, NAMES, title="ten").axes[0].containers
    assert np.array_equal(np.transpose([[bar.get_width() for bar in label] for label in bars]), counts)
    ends = np.transpose([[bar.get_x() + bar.get_width() for bar in label] for label in bars])
    assert np.array_equal(ends, np.cumsum(counts, axis=1))


@pytest.mark.parametrize("clients", [31, 500])
def test_many_clients_have_a_row_each_and_their_sizes_beside_it(clients: int) -> None:
    counts = few_labels_each(clients)
    cells, totals, _ = label_figure(counts, NAMES, title="many").axes
    drawn = cells.images[0].get_array()
    assert drawn is not None
    assert np.array_equal(np.ma.filled(drawn, 0), counts)
    assert np.array_equal(totals.patches[0].get_data().values, counts.sum(axis=1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("clients", [10, 100])
def test_title_axes_and_labels_are_named(clients: int) -> None:
    names = tuple(f"name {number}" for number in range(10))
    told = " ".join(texts(label_figure(few_labels_each(clients), names, title="Small among clients")))
    for text in ("Small among clients", "client", "training examples", "label", *names):
        assert text in told


def test_more_labels_than_colours_get_a_heat_map() -> None:
    counts = np.ones((3, 40), np.int64)
    figure = label_figure(counts, tuple(map(str, range(40))), title="forty")
    assert figure.axes[0].images


@pytest.mark.parametrize("clients", [4, 40])
def test_the_same_counts_give_the_same_bytes_whatever_the_style_of_the_user(clients: int, tmp_path: Path) -> None:
    counts = few_labels_each(clients)
    write_picture(tmp_path / "one.png", label_figure(counts, NAMES, title="same"), "--saved_dir")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 20, "axes.linewidth": 9}):
        write_picture(tmp_path / "two.png", label_figure(counts, NAMES, title="same"), "--saved_dir")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
