"""The report's pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measured import Measured
from benchmarks.recorded import OURS, Comparison, Record
from fedtier_cli.drawing import usual_style
from fedtier_cli.graphs.ink import DEVICES, DPI, MARKERS, WIDTH

_OURS, _OTHERS = DEVICES[0], DEVICES[5]
_TIERS: Final = ("worker", "master", "s3")
_NAMES: Final = {"worker": "workers", "master": "master", "s3": "S3"}


def comparison_picture(comparison: Comparison) -> Figure:
    """Draw seconds and servers' memory of all systems that ended well."""
    found = sorted((one for one in comparison.results if one.median is not None), key=lambda one: -(one.median or 0))
    names = [one.name for one in found]
    colours = [_OURS if one.system == OURS else _OTHERS for one in found]
    with usual_style():
        figure = Figure(figsize=(WIDTH, 1.2 + 0.4 * len(found)), dpi=DPI, layout="constrained")
        seconds, memory = figure.subplots(1, 2, sharey=True)
        medians = [one.median or 0.0 for one in found]
        ranges = [
            [median - (one.min or median) for median, one in zip(medians, found, strict=True)],
            [(one.max or median) - median for median, one in zip(medians, found, strict=True)],
        ]
        seconds.barh(names, medians, xerr=ranges, color=colours, ecolor="#333333", capsize=3)
        seconds.set_xlabel("seconds of a round: median and range")
        memory.barh(names, [one.server_pss_megabytes or 0.0 for one in found], color=colours)
        memory.set_xlabel("peak memory of all servers together, MB")
        figure.suptitle(f"{comparison.clients} clients of {comparison.megabytes:g} MB", x=0.01, ha="left")
    return figure


def cells_picture(cells: Mapping[str, Measured]) -> Figure:
    """Draw what each cell's gigabyte of updates cost: seconds by tier, and the servers' memory."""
    names = list(cells)[::-1]
    with usual_style():
        figure = Figure(figsize=(WIDTH, 1.2 + 0.35 * len(names)), dpi=DPI, layout="constrained")
        cpu, memory = figure.subplots(1, 2, sharey=True)
        _stack(cpu, names, lambda name, tier: cells[name].cpu_seconds_per_gigabyte(tier) or 0.0)
        cpu.set_xscale("symlog", linthresh=1)
        cpu.set_xlabel("CPU seconds per GB of updates")
        _stack(memory, names, lambda name, tier: cells[name].peak_pss_megabytes(tier))
        memory.set_xscale("symlog", linthresh=100)
        memory.set_xlabel("peak PSS, MB, each tier's own")
        figure.legend(*cpu.get_legend_handles_labels(), loc="outside upper right", ncols=len(_TIERS), fontsize=9)
    return figure


def _stack(axes: Axes, names: Sequence[str], value: Callable[[str, str], float]) -> None:
    height = 0.8 / len(_TIERS)
    for number, tier in enumerate(_TIERS):
        places = [place + height * (1 - number) for place in range(len(names))]
        axes.barh(places, [value(name, tier) for name in names], height, color=DEVICES[number], label=_NAMES[tier])
    axes.set_yticks(range(len(names)), names)


def scale_picture(records: Sequence[Record], figures: Sequence[str]) -> Figure:
    """Draw some figures over the number of clients, one panel each, one line per workers and depth.

    Parameters
    ----------
    records : sequence of records
        With ``clients``, ``workers`` and ``depth``.
    figures : sequence of str
        Their names in the records.
    """
    lines: dict[tuple[int, int], list[Record]] = {}
    for record in sorted(records, key=lambda one: int(one["clients"])):
        lines.setdefault((record.get("workers", 1), record.get("depth", 2)), []).append(record)
    with usual_style():
        figure = Figure(figsize=(WIDTH, 3.6), dpi=DPI, layout="constrained")
        for axes, name in zip(figure.subplots(1, len(figures), squeeze=False)[0], figures, strict=True):
            for number, ((workers, depth), line) in enumerate(sorted(lines.items())):
                having = [record for record in line if record.get(name) is not None]
                axes.plot(
                    [record["clients"] for record in having],
                    [record[name] for record in having],
                    color=DEVICES[number % len(DEVICES)],
                    marker=MARKERS[number % len(MARKERS)],
                    label=f"{workers} workers, depth {depth}",
                )
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
            axes.set_xlabel("clients")
            axes.set_title(name.replace("_", " "), fontsize=9, loc="left")
        figure.axes[0].legend(fontsize=8)
    return figure
