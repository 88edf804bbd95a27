"""What a history's picture shows, by the geometry of its figure and the bytes of its files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from fedtier.problems import StartupError
from fedtier_cli.drawing import write_picture
from fedtier_cli.graphs import ink
from fedtier_cli.graphs.figure import history_figure
from fedtier_cli.history import HistoryRound
from fedtier_cli.metrics import METRICS
from fedtier_cli.pictures import require_drawable
from fedtier_cli.series import federation_history
from tests.fedtier_cli.histories import history_round, part, training
from tests.fedtier_cli.picture_colours import pixels_of_each_colour


def drawn(rounds: Sequence[HistoryRound], *names: str) -> Figure:
    return history_figure(federation_history(rounds), names or METRICS, title="made")


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def end_labels(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def named(axes: Axes) -> set[str]:
    return {text for label in end_labels(axes) if (text := label.get_text()).startswith("client-")}


def assert_no_overlap(figure: Figure) -> None:
    figure.draw_without_rendering()
    for axes in figure.axes:
        # An annotation's own extent has its leader in it, which may cross another's.
        extents = sorted((Text.get_window_extent(label) for label in end_labels(axes)), key=lambda box: box.y0)
        assert all(lower.y1 <= upper.y0 for lower, upper in itertools.pairwise(extents))
        assert all(box.x0 >= axes.bbox.x1 and box.x1 <= figure.bbox.x1 for box in extents)


def assert_contains(axes: Axes, rounds: Sequence[HistoryRound], name: str) -> None:
    values = [one.metrics[name] for each in rounds for one in each.contributors]
    values += [each.evaluation.metrics[name] for each in rounds if each.evaluation is not None]
    low, high = axes.get_ylim()
    assert low <= min(values) <= max(values) <= high
    first, last = axes.get_xlim()
    assert first <= rounds[0].round <= rounds[-1].round <= last


@pytest.mark.parametrize("devices", [1, 2, 10])
def test_few_devices_have_a_line_and_a_name_in_the_legend_each(devices: int) -> None:
    figure = drawn(training(devices, 8))
    names = [f"client-{number}" for number in range(devices)]
    assert legend_texts(figure)[:devices] == names
    lines = [line for line in figure.axes[0].lines if line.get_color() in ink.DEVICES]
    assert len(lines) == devices
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == devices
    assert named(figure.axes[0]) == set()


@pytest.mark.parametrize("devices", [11, 100, 500])
def test_many_devices_share_one_entry_and_the_band_says_what_it_is(devices: int) -> None:
    texts = legend_texts(drawn(training(devices, 3, spread=0.01)))
    assert len(texts) <= 5
    assert texts[0] == "one device"
    assert "10th to 90th percentile of devices" in texts
    assert "mean of devices, weighted by examples" in texts
    assert "global model on test data" in texts


def test_a_band_of_two_devices_is_not_drawn() -> None:
    assert not any("percentile" in text for text in legend_texts(drawn(training(2, 5))))


def test_of_500_devices_those_that_lie_apart_are_named_at_their_line_ends() -> None:
    rounds = training(500, 12, apart=(77, 401), spread=0.1)
    figure = drawn(rounds)
    last = {one.client_id: one for one in rounds[-1].contributors}
    for axes, name in zip(figure.axes, METRICS, strict=True):
        assert named(axes) >= {"client-77", "client-401"}
        for label in end_labels(axes):
            if label.get_text() in last:
                assert label.xy == (12, last[label.get_text()].metrics[name])
    assert_no_overlap(figure)


def test_names_of_devices_that_end_at_one_place_do_not_lie_upon_each_other() -> None:
    assert_no_overlap(drawn(training(100, 20, apart=range(6), spread=0.02)))


@pytest.mark.parametrize("devices", [2, 10, 100, 500])
def test_everything_lies_within_the_axes(devices: int) -> None:
    rounds = training(devices, 10, apart=(1,))
    for axes, name in zip(drawn(rounds).axes, METRICS, strict=True):
        assert_contains(axes, rounds, name)


def test_a_line_is_broken_where_a_device_was_not_selected() -> None:
    alone = [(1, "client-0"), (2, "client-1"), (3, "client-0"), (4, "client-0")]
    figure = drawn([history_round(number, [part(name, loss=number)]) for number, name in alone], "loss")
    [line] = [line for line in figure.axes[0].lines if line.get_color() == ink.DEVICES[0]]
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), [1, np.nan, 3, 4])
    assert line.get_marker() != "None"


def test_of_many_devices_each_round_that_stands_alone_has_a_dot() -> None:
    rounds = [history_round(n, [part(f"client-{n}", loss=1 + n / 100)]) for n in range(1, 31)]
    [axes] = drawn(rounds, "loss").axes
    [dots] = [one for one in axes.collections if isinstance(one, PathCollection)]
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], range(1, 31))
    lines = [one for one in axes.collections if isinstance(one, LineCollection)]
    joined = [np.isfinite(segment).all(axis=1).sum() for one in lines for segment in one.get_segments()]
    assert max(joined, default=0) < 2


def test_one_round_is_points_and_a_box() -> None:
    figure = drawn([history_round(1, [part(f"c-{n}", loss=1 + n, accuracy=n / 30) for n in range(30)])])
    boxes = [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    assert any(segment[0][1] < 10 and segment[-1][1] > 20 for one in boxes for segment in one.get_segments())
    first, last = figure.axes[0].get_xlim()
    assert first < 1 < last


def test_the_x_axis_has_whole_rounds() -> None:
    for length in (1, 3, 47, 1000):
        figure = drawn(training(2, length))
        figure.draw_without_rendering()
        assert all(float(tick).is_integer() for tick in figure.axes[-1].get_xticks())


def test_a_loss_that_spans_decades_is_logarithmic_and_accuracy_never() -> None:
    falling = [history_round(n, [part("a", loss=10.0 ** (1 - n), accuracy=0.5)]) for n in range(1, 5)]
    assert [axes.get_yscale() for axes in drawn(falling).axes] == ["log", "linear"]
    assert [axes.get_yscale() for axes in drawn(training(2, 10)).axes] == ["linear", "linear"]


def test_a_loss_of_zero_does_not_hide_the_others() -> None:
    parts = [part(f"c-{n}", loss=10.0 ** (1 - n)) for n in range(12)] + [part("zero", loss=0.0)]
    figure = drawn([history_round(1, parts), history_round(2, parts)], "loss")
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    assert high >= 10
    assert np.isfinite([low, high]).all()


def test_negative_losses_are_drawn_on_a_linear_axis() -> None:
    rounds = [history_round(n, [part("a", loss=-(10.0**n)), part("b", loss=0.1)]) for n in range(1, 4)]
    [axes] = drawn(rounds, "loss").axes
    assert axes.get_yscale() == "linear"
    assert_contains(axes, rounds, "loss")


def test_a_panel_without_values_says_so_in_a_sentence() -> None:
    figure = drawn([history_round(0), history_round(1, [part("a", loss=1.0)])])
    [text] = figure.axes[1].texts
    assert text.get_text() == "The devices report no accuracy, and no round is tested: fedtier evaluate does that."
    figure.draw_without_rendering()


def test_the_initial_model_alone_is_a_picture_too() -> None:
    figure = drawn([history_round(0)])
    assert all("report no" in axes.texts[0].get_text() for axes in figure.axes)
    figure.draw_without_rendering()


def test_results_on_test_data_are_marked_and_the_last_is_written_beside_the_panel() -> None:
    figure = drawn(training(3, 9, test_every=4))
    [line] = [line for line in figure.axes[1].lines if line.get_color() == ink.TEST]
    np.testing.assert_array_equal(np.asarray(line.get_xdata()), [0, 4, 8])
    assert line.get_marker() == "D"
    [label] = end_labels(figure.axes[1])
    assert re.fullmatch(r"\d+\.\d\d%", label.get_text())
    assert label.xy[0] == 8


def test_only_what_is_wanted_is_drawn() -> None:
    assert [axes.get_ylabel() for axes in drawn(training(2, 3), "accuracy").axes] == ["accuracy"]


def test_the_title_says_how_many_took_part() -> None:
    title = drawn(training(20, 40, fraction=0.1)).axes[0].get_title(loc="left")
    assert title == "made: 20 devices seen, 2 in each round, 40 rounds"


def test_a_long_id_is_cut() -> None:
    name = "c" * 128
    assert legend_texts(drawn([history_round(1, [part(name, loss=1.0)])], "loss"))[0] == "c" * 23 + "…"


@pytest.mark.parametrize("name", ["g.png", "g.svg"])
def test_the_same_history_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    for copy in ("a", "b"):
        (tmp_path / copy).mkdir()
        write_picture(tmp_path / copy / name, drawn(training(30, 6, apart=(3,))), "--out")
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [name]


def test_an_svg_has_text_as_text(tmp_path: Path) -> None:
    write_picture(tmp_path / "g.svg", drawn(training(3, 4)), "--out")
    svg = (tmp_path / "g.svg").read_text()
    assert ">client-2</text>" in svg
    assert ">accuracy</text>" in svg
    assert "<dc:date>" not in svg


def test_an_svg_of_very_many_points_stays_small(tmp_path: Path) -> None:
    write_picture(tmp_path / "g.svg", drawn(training(300, 80)), "--out")
    assert (tmp_path / "g.svg").stat().st_size < 2_000_000


def test_a_png_is_as_wide_as_it_should_be_and_in_colour(tmp_path: Path) -> None:
    write_picture(tmp_path / "g.PNG", drawn(training(10, 4)), "--out")
    pixels = matplotlib.image.imread(tmp_path / "g.PNG")
    assert pixels.shape[1] == 1500
    assert len(pixels_of_each_colour(pixels)) > 50


@pytest.mark.parametrize("name", ["g.jpg", "g"])
def test_another_suffix_is_refused(name: str) -> None:
    with pytest.raises(StartupError, match=f"the picture {name} has the suffix .*; name it .png or .svg by --out"):
        require_drawable(Path(name), "--out")


def test_a_folder_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nowhere for the picture does not exist"):
        require_drawable(tmp_path / "nowhere" / "g.png", "--out")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(StartupError, match="would take the place of a folder"):
        require_drawable(tmp_path / "folder.png", "--out")


HUGE = ((1e308, 1.7e308), (1e308, 1.0), (-1e308, 1e308), (5e-324, 1e308), (5e-324, 1e-310))


@pytest.mark.parametrize("losses", HUGE)
def test_losses_beyond_all_measure_are_drawn_all_the_same(tmp_path: Path, losses: tuple[float, float]) -> None:
    parts = [part(f"client-{number}", 10**9, loss=losses[number % 2]) for number in range(13)]
    rounds = [history_round(0, tested={"loss": losses[0]}), history_round(1, parts), history_round(2, parts)]
    write_picture(tmp_path / "g.png", drawn(rounds), "--out")
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_a_style_of_the_user_gives_no_other_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", drawn(training(3, 4)), "--out")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30, "text.parse_math": False}):
        write_picture(tmp_path / "b.png", drawn(training(3, 4)), "--out")
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
