"""``fedtier pause``, ``resume`` and ``close``: what an operator asks of a running master."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from fedtier.flags import command, json_flag
from fedtier.rounds import RoundStatus
from fedtier.tls import Tls
from fedtier.upstream import Upstream
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.processes import as_json_line
from fedtier_cli.servers import Server, asked, chosen_server, server_flags
from fedtier_cli.situation import plural


@command("pause")
@server_flags
@json_flag
def pause(server: str | None, run_dir: Path | None, tls: Tls, as_json: bool) -> None:
    """Have the master take no uploads, until fedtier resume; lasts beyond a restart of the master.

    What is counted stays counted. Where the master asks for tokens, FEDTIER_TOKEN or FEDTIER_TOKEN_FILE
    must hold an operator's; that of a local run is found.

    Ends with status 0 when done, 1 when the master refuses or is away, 2 for wrong flags, 130 by Ctrl-C.
    """
    _operate(chosen_server(server, run_dir, tls=tls, operates=True), Upstream.pause_uploads, _paused_words, as_json)


@command("resume")
@server_flags
@json_flag
def resume(server: str | None, run_dir: Path | None, tls: Tls, as_json: bool) -> None:
    """Have the master take uploads again.

    Where the master asks for tokens, FEDTIER_TOKEN or FEDTIER_TOKEN_FILE must hold an
    operator's; that of a local run is found.

    Ends with status 0 when done, 1 when the master refuses or is away, 2 for wrong flags, 130 by Ctrl-C.
    """
    _operate(chosen_server(server, run_dir, tls=tls, operates=True), Upstream.resume_uploads, _state_words, as_json)


@command("close")
@click.argument("round_number", metavar="[ROUND]", type=click.IntRange(min=1), required=False)
@click.option("--open", "whichever", is_flag=True, help="Close whichever round is open, after saying which.")
@server_flags
@json_flag
def close(
    round_number: int | None, whichever: bool, server: str | None, run_dir: Path | None, tls: Tls, as_json: bool
) -> None:
    """Close the open round with what is counted, as at its deadline.

    Name the round, so that a command that is called late or twice does not close the next one; --open closes
    whichever is open. With fewer clients counted than the round needs at least, it closes as soon as they are
    counted. Where the master asks for tokens, FEDTIER_TOKEN or FEDTIER_TOKEN_FILE must hold an
    operator's; that of a local run is found.

    Ends with status 0 when done, 1 when the master refuses or is away, 2 for wrong flags, 130 by Ctrl-C.
    """
    if (round_number is None) == (not whichever):
        raise click.UsageError("name the round to close, or give --open to close whichever is open; not both")
    master = chosen_server(server, run_dir, tls=tls, operates=True)
    with asked(master, role="operator") as upstream:
        number = upstream.round_status().round if round_number is None else round_number
    if whichever:
        click.echo(f"round {number} is open at {master.url}", err=as_json)
    _operate(master, lambda upstream: upstream.close_round(number), lambda now: _closed_words(number, now), as_json)


def _operate(
    master: Server, ask: Callable[[Upstream], RoundStatus], words: Callable[[RoundStatus], str], as_json: bool
) -> None:
    with ended_by_signals("the asking"), asked(master, role="operator") as upstream:
        now = ask(upstream)
    if as_json:
        members = {"round", "attempt", "state", "counted", "threshold", "min_clients"}
        print(as_json_line({"server": master.url, **now.model_dump(include=members)}))
    else:
        click.echo(words(now))


def _paused_words(now: RoundStatus) -> str:
    if now.state != "publishing":
        return _state_words(now)
    return f"{_state_words(now)}; uploads of the round after it are not taken"


def _state_words(now: RoundStatus) -> str:
    if now.state == "finished":
        return f"the federation is finished: round {now.base.round} is the last"
    return f"round {now.round} is {now.state}: {now.counted} of {plural(now.threshold, 'client')} counted"


def _closed_words(number: int, now: RoundStatus) -> str:
    if now.round > number:
        return f"round {number} is closed and published; {_state_words(now)}"
    if now.state == "publishing":
        return f"round {number} is closed with {plural(now.counted, 'client')} and is being published"
    least = min(now.min_clients, now.threshold)
    wanted = f"{plural(least, 'client')} {'is' if least == 1 else 'are'}"
    return f"round {number} closes as soon as {wanted} counted; {now.counted} counted now"
