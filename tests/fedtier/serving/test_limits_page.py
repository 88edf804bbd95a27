"""What docs/limits.md says of connections is what a server bears by default."""

from __future__ import annotations

from pathlib import Path

from fedtier.serving.front.limits import Limits

PAGE = Path(__file__).parents[3] / "docs" / "limits.md"


def rows() -> dict[str, str]:
    """Return the limits of the table, by what they bound."""
    _, _, section = PAGE.read_text().partition("## What a connection may do\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return {what.strip(): limit.strip() for _, what, limit, *_ in (line.split("|") for line in lines[1:])}


def test_every_bound_of_a_connection_is_on_the_page_as_it_is() -> None:
    limits = Limits()
    assert limits.share == 1 / 4
    assert limits.drain_bytes == 1 << 20
    assert rows() == {
        "connections at once": f"{limits.connections:,}, or as many as the process may have descriptors for; "
        "a worker keeps some for the files of a batch",
        "connections from one address (one /64 of IPv6)": "a quarter of them",
        "the handshake of TLS, and a head": f"{limits.head_seconds:.0f} s",
        "messages of TLS itself in a row, such as key updates": f"{limits.tls_bytes >> 10} KiB",
        "idle, between two requests": f"{limits.idle_seconds:.0f} s",
        "a body, up or down": f"`--min-rate` bytes per second ({limits.min_rate:,}; 0 for none); "
        f"it may be behind that by {limits.rate_seconds:.0f} s",
        "the end of a small answer, to a slow reader": f"{limits.flush_seconds:.0f} s",
        "what a refused sender still sends": f"{limits.drain_seconds:.0f} s, 1 MiB",
    }
