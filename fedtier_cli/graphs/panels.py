"""One panel of a history's picture: a metric of the devices and of the global model over the rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from fedtier_cli.graphs import ink
from fedtier_cli.series import Counts, FederationHistory, Floats, MetricHistory

LEAST_FOR_BAND: Final = 5
"""Percentiles of fewer devices are the devices themselves."""
_DRAWN: Final = 0.5
"""The part of the devices in a round up to which a federation counts as one that draws its clients."""
_LOG_SPAN: Final = 30.0
"""From the least to the greatest value that has to be seen: about a decade and a half."""
_LEAST: Final = 1e-100
"""What is less is nothing, or the limits of a logarithmic axis would leave the numbers that there are."""
_BELOW: Final = 100.0
"""How far below the general course a logarithmic axis goes for the sake of single devices."""


def draw_panel(axes: Axes, name: str, history: FederationHistory, colours: Mapping[int, str]) -> None:
    """Draw one metric.

    Parameters
    ----------
    axes : Axes
    name : str
        Of `fedtier_cli.metrics.METRICS`.
    history : FederationHistory
    colours : Mapping of int to str
        Of the devices, by their columns, that stand out from the others.
    """
    metric = history.metrics[name]
    axes.set_ylabel(name, fontsize=ink.TEXT + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=ink.TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    if metric.is_reported or metric.is_tested:
        _scale(axes, name, metric)
        _draw_devices(axes, history.rounds, metric.devices, colours)
        _draw_band(axes, history.rounds, metric)
        _draw_mean(axes, history.rounds, metric.mean)
        _draw_test(axes, history.rounds, metric.test)
    _note_what_is_missing(axes, name, metric)


def _draw_devices(axes: Axes, rounds: Counts, devices: Floats, colours: Mapping[int, str]) -> None:
    """Draw one line per device, broken where it was not in the round, and a dot where it was in one alone."""
    others = [column for column in range(devices.shape[1]) if column not in colours]
    if others:
        _draw_faint(axes, rounds, devices[:, others])
    everyone = not others
    for number, (column, colour) in enumerate(colours.items()):
        values = devices[:, column]
        marked = len(rounds) <= ink.MAX_MARKED
        axes.plot(
            rounds,
            values,
            color=colour,
            linewidth=1.3,
            marker=ink.MARKERS[number % len(ink.MARKERS)] if everyone and marked else "o",
            markersize=4.0 if marked else 3.0,
            markevery=None if marked else _alone(values[:, None])[:, 0],
            zorder=2.2,
        )


def _draw_faint(axes: Axes, rounds: Counts, values: Floats) -> None:
    rastered = values.size > ink.MAX_SEGMENTS
    opacity = ink.faintness(values.shape[1])
    lines = [np.column_stack([rounds, column]) for column in values.T]
    drawn = LineCollection(lines, colors=ink.FAINT, linewidths=0.8, alpha=opacity, zorder=1.5, rasterized=rastered)
    axes.add_collection(drawn, autolim=False)
    there = ~np.isnan(values)
    # Where each round draws other devices, the dots are what is seen, and a line would join few of them.
    at, of = np.nonzero(_alone(values) if there.mean() > _DRAWN else there)
    dots = axes.scatter(rounds[at], values[at, of], s=7, c=ink.FAINT, alpha=ink.dot_faintness(len(at)), linewidths=0)
    dots.set_rasterized(rastered)


def _draw_band(axes: Axes, rounds: Counts, metric: MetricHistory) -> None:
    enough = np.count_nonzero(~np.isnan(metric.devices), axis=1) >= LEAST_FOR_BAND
    low, high = np.where(enough, metric.low, np.nan), np.where(enough, metric.high, np.nan)
    axes.fill_between(
        rounds, low, high, where=enough.tolist(), color=ink.BAND, alpha=ink.BAND_ALPHA, linewidth=0, zorder=2
    )
    alone = _alone(low[:, None])[:, 0]
    axes.vlines(rounds[alone], low[alone], high[alone], color=ink.BAND, alpha=ink.BAND_ALPHA, linewidth=9, zorder=2)


def _draw_mean(axes: Axes, rounds: Counts, mean: Floats) -> None:
    alone = _alone(mean[:, None])[:, 0]
    axes.plot(
        rounds,
        mean,
        color=ink.MEAN,
        linewidth=ink.mean_width(len(rounds)),
        marker="o",
        markersize=5,
        markevery=alone,
        zorder=3,
    )


def _draw_test(axes: Axes, rounds: Counts, test: Floats) -> None:
    tested = ~np.isnan(test)
    count = int(np.count_nonzero(tested))
    size = 5.0 if count <= ink.MAX_MARKED else 2.0 if count <= ink.MAX_DOTTED else 0.0
    axes.plot(
        rounds[tested],
        test[tested],
        color=ink.TEST,
        linewidth=1.4,
        marker="D",
        markersize=size,
        markerfacecolor="white" if size > 2 else ink.TEST,
        zorder=3.5,
    )


def _alone(values: Floats) -> npt.NDArray[np.bool_]:
    """Return which values of [R, D] have neither a round before nor one after that they are joined with."""
    there = np.pad(~np.isnan(values), ((1, 1), (0, 0)))
    alone: npt.NDArray[np.bool_] = there[1:-1] & ~there[:-2] & ~there[2:]
    return alone


def _scale(axes: Axes, name: str, metric: MetricHistory) -> None:
    """Choose a linear or a logarithmic axis, and its limits: all values are within, as far as a logarithm is."""
    values = np.concatenate([metric.devices.ravel(), metric.test])
    values = values[~np.isnan(values)]
    course = np.concatenate([metric.low, metric.mean, metric.high, metric.test])
    course = course[~np.isnan(course)]
    low, high, least = float(values.min()), float(values.max()), float(course.min())
    if name == "loss" and least > _LEAST and high / least > _LOG_SPAN:
        low = max(float(values[values > 0].min()), least / _BELOW)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low / (high / low) ** 0.04, high * (high / low) ** 0.04)
        _name_decades(axes, high / low)
        return
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if name == "accuracy" and low >= 0 and high <= 1:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))


def _name_decades(axes: Axes, span: float) -> None:
    subs = (1.0, 2.0, 5.0) if span < 1000 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _note_what_is_missing(axes: Axes, name: str, metric: MetricHistory) -> None:
    if metric.is_reported:
        return
    sentence = f"The devices report no {name}"
    if not metric.is_tested:
        sentence += ", and no round is tested: fedtier evaluate does that"
    x, y, across, up = (0.99, 0.98, "right", "top") if metric.is_tested else (0.5, 0.5, "center", "center")
    axes.text(x, y, f"{sentence}.", transform=axes.transAxes, color=ink.NOTE, fontsize=ink.TEXT, ha=across, va=up)
