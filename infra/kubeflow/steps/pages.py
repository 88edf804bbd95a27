"""HTML pages that need nothing but themselves: Kubeflow shows them in a frame that reaches no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_TYPES: Final = {".png": "image/png", ".svg": "image/svg+xml"}
_STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:16px;color:#202124;background:#fff}"
    "h1{font-size:16px;font-weight:600}img{max-width:100%;height:auto}"
    "table{border-collapse:collapse;margin-top:12px}"
    "th,td{padding:2px 10px;text-align:right;border-bottom:1px solid #e0e0e0;font-variant-numeric:tabular-nums}"
    "th:first-child{text-align:left}"
)


def page(title: str, *parts: str) -> str:
    """Return a page.

    Parameters
    ----------
    title : str
        As text.
    *parts : str
        As HTML, such as `picture` and `table` return.
    """
    shown = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{shown}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{shown}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def picture(path: Path, shows: str) -> str:
    """Return a picture of a file, within the page itself.

    Parameters
    ----------
    path : Path
        A ``.png`` or ``.svg``.
    shows : str
        What is to be seen, for who cannot see it.

    Raises
    ------
    OSError
    """
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{html.escape(shows)}" src="data:{_TYPES[path.suffix]};base64,{data}">'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first cell of a row names it.

    Parameters
    ----------
    head : sequence of str
    rows : iterable of sequence of str
        Each as long as the head.
    """
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "\n".join(
        f"<tr><th>{html.escape(row[0])}</th>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"
