"""``fedtier convert``: a PyTorch checkpoint as the safetensors file that a federation starts from."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedtier.flags import command, json_flag
from fedtier.plain_text import printable
from fedtier.problems import StartupError
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT
from fedtier.tensors import write_arrays
from fedtier.upstream import file_sha256
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.processes import as_json_line
from fedtier_cli.situation import plural
from master_aggregator.planning import require_summable

if TYPE_CHECKING:
    from fedtier_cli.conversion import Converted


@command("convert")
@click.argument("source", metavar="MODEL.PT", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The safetensors file. [default: MODEL.safetensors beside the source]",
)
@click.option("--key", help="Where in the checkpoint the state dict is. [default: found by its usual names]")
@click.option("--strip-prefix", metavar="TEXT", default="", help="Taken off every tensor's name: module. for one.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@json_flag
def convert(source: Path, out: Path | None, key: str | None, strip_prefix: str, force: bool, as_json: bool) -> None:
    """Make a safetensors file of a PyTorch checkpoint, for fedtier master --web_model.

    Takes a state dict, or a checkpoint with one under state_dict, model_state_dict or model, as torch.save wrote it.
    Nothing of the file is run: whole pickled modules and TorchScript are refused. Values keep their dtypes, bit by
    bit. The file appears whole or not at all.

    With --json one object: file, source, key, tensors, parameters, bytes, sha256, opens_a_round, notes.

    Ends with status 0 when done, 1 when it cannot be done, 2 for wrong flags, 130 by Ctrl-C.
    """
    target = source.with_suffix(".safetensors") if out is None else out
    if target.exists() and not force:
        raise StartupError(f"{target} exists; name another file by --out, or overwrite it by --force")
    with ended_by_signals("the conversion"):
        facts = _converted(source, target, key=key, strip_prefix=strip_prefix, force=force)
    if as_json:
        print(as_json_line(facts))
        return
    where = "" if facts["key"] is None else f", from its key {facts['key']!r}"
    click.echo(f"{target}  {plural(facts['tensors'], 'tensor')}, {facts['parameters']} values{where}")
    click.echo(f"{facts['bytes']} bytes  sha256 {facts['sha256']}")
    for note in facts["notes"]:
        click.echo(f"note: {printable(note)}", err=True)


def _converted(source: Path, target: Path, *, key: str | None, strip_prefix: str, force: bool) -> dict[str, Any]:
    """Write the file, and return what a program is told of it."""
    converted = _conversion()(source, key, strip_prefix)
    _write(target, converted, force)
    notes = list(converted.notes)
    obstacle = _obstacle(target)
    if obstacle is not None:
        notes.append(f"it cannot open a round: {obstacle}")
    return {
        "file": str(target),
        "source": str(source),
        "key": converted.key,
        "tensors": len(converted.specs),
        "parameters": converted.parameters,
        "bytes": target.stat().st_size,
        "sha256": file_sha256(target),
        "opens_a_round": obstacle is None,
        "notes": notes,
    }


def _conversion() -> Callable[[Path, str | None, str], Converted]:
    """Load what converts: torch takes seconds to import, and may be absent."""
    try:
        conversion = importlib.import_module("fedtier_cli.conversion")
    except ImportError:
        raise StartupError(
            "fedtier convert needs torch, which is not installed; pip install 'fedtier[client]'"
        ) from None
    convert_checkpoint: Callable[[Path, str | None, str], Converted] = conversion.convert_checkpoint
    return convert_checkpoint


def _write(target: Path, converted: Converted, force: bool) -> None:
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("xb") as file:
                write_arrays(file, converted.arrays, specs=converted.specs)
                file.flush()
                os.fsync(file.fileno())
            if force:
                temporary.replace(target)
            else:
                target.hardlink_to(temporary)  # unlike a rename, it never replaces what came there meanwhile
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(f"{target} cannot be written ({error.strerror}); name another file by --out") from None


def _obstacle(target: Path) -> str | None:
    try:
        require_summable(target, DEFAULT_WEIGHT_LIMIT)
    except StartupError as error:
        return str(error)
    return None
