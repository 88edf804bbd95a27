from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.datasets.tables import Table, parse_table, require_same_columns
from fedtier.problems import StartupError

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def parsed(text: str, columns: int = 3) -> Table:
    return parse_table(text, "some.csv", columns)


def refusal(text: str) -> str:
    with pytest.raises(StartupError) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS)), header=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\r"])
)
def test_numbers_come_back_as_they_were_written(rows: list[tuple[float, float, float]], header: bool, end: str) -> None:
    lines = ["a,b,c"] * header + [",".join(map(repr, row)) for row in rows]

    table = parsed(end.join(lines) + end)

    assert table.header == (("a", "b", "c") if header else None)
    assert table.rows.dtype == np.float32
    np.testing.assert_array_equal(table.rows, np.array(rows, np.float32).reshape(-1, 3), strict=True)


def test_spaces_quotes_and_empty_lines_do_not_count() -> None:
    table = parsed('\n"a", b ,"c, d"\n\n1 , 2," 3"\n \t\n\n')

    assert table.header == ("a", "b", "c, d")
    assert table.rows.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,c\n1,2\n", "some.csv, line 2: 2 columns, wanted 3 numbers"),
        ("1,2,3\n\n1,2,3,4\n", "some.csv, line 3: 4 columns"),
        ("1;2;3\n", "some.csv, line 1: 1 column, wanted 3"),
        ("a,b\n", "some.csv, line 1: 2 columns"),
        ("1,2,3\n4,five,6\n", "some.csv, line 2, column 2: 'five' is no finite number of float32; wanted a number"),
        ("a,b,c\n1,2,3\n4,,6\n", "some.csv, line 3, column 2 ('b'): the cell is empty"),
        ("1, ,3\n", "line 1, column 2: the cell is empty"),
        (",,\n", "line 1, column 1: the cell is empty"),
        ("1,2,nan\n", "line 1, column 3: 'nan' is no finite number"),
        ("1,2,-inf\n", "'-inf' is no finite number"),
        ("1,2,1e39\n", "'1e39' is no finite number of float32"),
        ("1,2,1e999\n", "'1e999' is no finite number"),
        ("1,2,1_0\n", "'1_0' is no finite number"),
        ("1,2,\u0663\n", "is no finite number"),
        ("a,2,c\n1,2,3\n", "line 1, column 1: 'a' is no finite number"),
        ("a,b,c\nd,e,f\n", "line 2, column 1 ('a'): 'd' is no finite number"),
        (f"1,2,{'x' * 200}\n", f"column 3: '{'x' * 40}...' is no"),
        (f"1,2,{'x' * 200_000}\n", "line 1: this is not CSV"),
        ('1,2,"3\n4,5,6\n', "line 1, column 3"),
    ],
)
def test_a_line_that_is_no_row_of_numbers_is_named_with_its_column(text: str, says: str) -> None:
    assert says in refusal(text)


def test_the_last_line_needs_no_end() -> None:
    assert parsed("1,2,3\n4,5,6").rows.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_separator_of_some_script_within_a_cell_ends_no_line() -> None:
    assert parsed("a\u2028,b\x0b,c\x85\n1,2,3\n").rows.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(end: str) -> None:
    assert "line 4, column 3" in refusal(end.join(["a,b,c", "1,2,3", "", "4,5,six"]))


def test_a_line_is_named_as_an_editor_counts_it() -> None:
    assert "line 3, column 1 ('a\\nb')" in refusal('"a\nb",c,d\nx,1,2\n')


def table_of(name: str, header: tuple[str, ...] | None) -> Table:
    return Table(name, header, np.zeros((1, 2), np.float32))


def test_tables_with_other_columns_name_the_first_that_differs() -> None:
    one, other = table_of("one.csv", ("a", "b")), table_of("other.csv", ("a", "c"))

    with pytest.raises(StartupError, match=r"column 2 is 'b' in one\.csv and 'c' in other\.csv"):
        require_same_columns(one, other)


def test_a_header_in_one_of_two_tables_is_enough() -> None:
    named, unnamed = table_of("named", ("a", "b")), table_of("unnamed", None)

    require_same_columns(named, unnamed)
    require_same_columns(unnamed, named)
    require_same_columns(named, named)
