"""Links of the pages lead somewhere: to files that are there, and to headings that stand in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("benchmarks/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
PACKAGES = "tests|fedtier|client|worker_aggregator|master_aggregator|fedtier_cli|scripts|docs|examples"
NAMED = re.compile(rf"`((?:{PACKAGES})/[\w./-]*)`")


def anchors(page: Path) -> set[str]:
    """Return what headings of a page are called in links: their words in lower case, joined by hyphens."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for path in NAMED.findall(page.read_text()):
        assert (CHECKOUT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    known = "\n".join(file.read_text() for file in (CHECKOUT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test(?:_[a-z0-9]+){3,})`", page.read_text())  # a claim has some words; `test_again` is none
    assert [name for name in names if f"def {name}(" not in known] == []


def test_all_pages_are_looked_at() -> None:
    assert {"README.md", "SECURITY.md", "limits.md"} <= {page.name for page in PAGES}
    assert LINK.findall("[a](docs/tls.md) [b](tls.md#renewal)") == [("docs/tls.md", ""), ("tls.md", "renewal")]
