"""Tables of numbers as CSV text: every cell of every line checked. Pure."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fedtier.problems import StartupError

_LARGEST: Final = float(np.finfo(np.float32).max)
_MAX_SHOWN: Final = 40
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of numbers.

    Parameters
    ----------
    name : str
        What a person calls it.
    header : tuple of str or None
        Names of the columns, where the text has them.
    rows : ndarray of float32, shape [n, columns]
    """

    name: str
    header: tuple[str, ...] | None
    rows: npt.NDArray[np.float32]


def parse_table(text: str, name: str, columns: int) -> Table:
    """Read rows of numbers with commas between them; a first line without any number is the header.

    Parameters
    ----------
    text : str
        Lines that are empty, or of spaces, do not count.
    name : str
        What a person calls the table.
    columns : int
        How many each line has.

    Raises
    ------
    StartupError
        A line has another number of cells, or a cell is no finite number of float32; names line and column.
    """
    header: tuple[str, ...] | None = None
    values, started, line = array("f"), False, 1
    # A StringIO would hold four bytes for each character.
    reader = csv.reader(found[0] for found in _LINE.finditer(text))
    try:
        for cells in reader:
            # A quoted cell may go on for lines; the first one is where an open quote is to be found.
            where, line = f"{name}, line {line}", reader.line_num + 1
            if len(cells) < 2 and not "".join(cells).strip():
                continue
            if len(cells) != columns:
                raise StartupError(
                    f"{where}: {len(cells)} column{'s' * (len(cells) != 1)}, "
                    f"wanted {columns} numbers with commas between them"
                )
            if not started and _is_header(cells):
                header = tuple(cell.strip() for cell in cells)
            else:
                values.extend(_numbers(cells, header, where))
            started = True
    except csv.Error as error:
        raise StartupError(f"{name}, line {line}: this is not CSV ({error}); name another file") from None
    return Table(name, header, np.frombuffer(values, np.float32).reshape(-1, columns))


def require_same_columns(first: Table, second: Table) -> None:
    """Refuse tables whose headers, where both have one, differ.

    Raises
    ------
    StartupError
        Names the first column that differs.
    """
    if first.header is None or second.header is None:
        return
    for number, (one, other) in enumerate(zip(first.header, second.header, strict=True), start=1):
        if one != other:
            raise StartupError(
                f"column {number} is {_shown(one)} in {first.name} and {_shown(other)} in {second.name}; "
                "both need the same columns in the same order"
            )


def _is_header(cells: Sequence[str]) -> bool:
    # A number among the names is rather a row with a wrong cell, which must not pass unseen.
    return any(cell.strip() for cell in cells) and not any(_as_number(cell) is not None for cell in cells)


def _numbers(cells: Sequence[str], header: Sequence[str] | None, where: str) -> list[float]:
    numbers = [_as_number(cell) for cell in cells]
    row = []
    for index, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        # Also false for NaN.
        if number is not None and abs(number) <= _LARGEST:
            row.append(number)
            continue
        column = f"column {index + 1}{f' ({_shown(header[index])})' if header else ''}"
        seen = "the cell is empty" if not cell.strip() else f"{_shown(cell)} is no finite number of float32"
        raise StartupError(f"{where}, {column}: {seen}; wanted a number such as 0.5")
    return row


def _as_number(cell: str) -> float | None:
    # Python takes 1_000 and digits of any script, which other readers of the same file do not.
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _MAX_SHOWN else f"{cell[:_MAX_SHOWN]}...")
