"""Makes the sample rows of the tabular data set: two CSV files, the same bytes on every machine.

``python scripts/make_tabular_samples.py [DIRECTORY]``, by default where the package has them.

The rows are invented. They look like features of network flows, ordinary ones (class 0) and scans and
floods (class 1): logarithms of most columns are normal with means that differ between the classes, so counts
and bytes have heavy tails, and the classes overlap a little.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

ROWS: Final = (1030, 985)
SEED: Final = 17
CLASS_FILES: Final = ("class-0.csv", "class-1.csv")
SAMPLES: Final = Path(__file__).parents[1] / "client" / "datasets" / "samples"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: exp of a normal variable, and how it is written.

    Parameters
    ----------
    name : str
    mean : float
        Of the logarithm in class 0.
    shift : float
        What class 1 has more, in deviations.
    deviation : float
        Of the logarithm.
    decimals : int
        0 for counts, which are whole numbers.
    """

    name: str
    mean: float
    shift: float
    deviation: float
    decimals: int


COLUMNS: Final = (
    Column("duration_s", 0.5, -1.1, 1.4, 3),
    Column("packets_out", 2.6, 0.9, 1.2, 0),
    Column("packets_in", 2.8, -1.1, 1.2, 0),
    Column("bytes_out", 7.4, 0.3, 1.5, 0),
    Column("bytes_in", 8.6, -1.0, 1.7, 0),
    Column("mean_packet_out_bytes", 5.2, -0.9, 0.6, 1),
    Column("mean_packet_in_bytes", 6.0, -0.6, 0.7, 1),
    Column("deviation_packet_out_bytes", 4.2, -0.5, 0.9, 1),
    Column("gap_mean_ms", 3.1, -1.1, 1.3, 3),
    Column("gap_deviation_ms", 3.0, -0.7, 1.2, 3),
    Column("gap_largest_ms", 5.0, -0.6, 1.5, 3),
    Column("syn_flags", 0.6, 1.2, 0.7, 0),
    Column("ack_flags", 2.4, -0.7, 1.1, 0),
    Column("resets", -0.9, 0.9, 0.8, 0),
    Column("distinct_ports", 0.7, 1.2, 0.9, 0),
    Column("flows_last_minute", 2.0, 0.8, 1.0, 0),
    Column("load_percent", 2.9, 0.4, 0.6, 2),
)


def make_rows(draw: np.random.RandomState, rows: int, label: int) -> list[list[str]]:
    """Return rows of cells of one class.

    Parameters
    ----------
    draw : RandomState
        NumPy keeps what it gives from version to version (NEP 19).
    rows : int
    label : int
        0 or 1.
    """
    # What a flow is like as a whole shows in all of its columns, so they do not tell the classes apart independently.
    activity = draw.standard_normal((rows, 1))
    noise = 0.5 * activity + np.sqrt(0.75) * draw.standard_normal((rows, len(COLUMNS)))
    means = np.array([column.mean + label * column.shift * column.deviation for column in COLUMNS])
    values = np.exp(means + np.array([column.deviation for column in COLUMNS]) * noise)
    return [_cells(row) for row in values]


def write_samples(directory: Path) -> None:
    """Write both files.

    Raises
    ------
    OSError
    """
    directory.mkdir(parents=True, exist_ok=True)
    draw = np.random.RandomState(SEED)
    for label, (name, rows) in enumerate(zip(CLASS_FILES, ROWS, strict=True)):
        with (directory / name).open("w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([column.name for column in COLUMNS])
            writer.writerows(make_rows(draw, rows, label))


def _cells(row: npt.NDArray[np.float64]) -> list[str]:
    return [f"{value:.{column.decimals}f}" for value, column in zip(row, COLUMNS, strict=True)]


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
