"""From a PyTorch checkpoint to arrays under safetensors' names, without running anything of the file.

``torch.load(weights_only=True)`` builds tensors and plain containers only. What a safetensors
file cannot say exactly is refused, and nothing is left out or renamed unless it was asked for.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

import torch

from fedtier.dtypes import Array, TensorSpec
from fedtier.plain_text import printable
from fedtier.problems import StartupError

CHECKPOINT_KEYS: Final = ("state_dict", "model_state_dict", "model")
"""Under which checkpoints hold the state dict of the model."""
_SAVE: Final = "save model.state_dict() with torch.save, and convert that"
_DTYPES: Final[Mapping[torch.dtype, str]] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_SHOWN: Final = 8
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_METADATA: Final = "__metadata__"

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Converted:
    """A model as `fedtier.tensors.write_arrays` takes it.

    Parameters
    ----------
    specs : tuple of TensorSpec
        In the order of the state dict.
    arrays : Mapping of str to ndarray
        Contiguous; BF16 as ``uint16`` bit patterns.
    key : str or None
        Where in the checkpoint the state dict was found; None where it is all of it.
    notes : tuple of str
        What a person should know.
    """

    specs: tuple[TensorSpec, ...]
    arrays: Mapping[str, Array]
    key: str | None
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many values there are."""
        return sum(spec.elements for spec in self.specs)


def convert_checkpoint(path: Path, key: str | None, strip_prefix: str) -> Converted:
    """Return the tensors of a checkpoint's state dict as arrays, bit by bit.

    Parameters
    ----------
    path : Path
        Of a file of ``torch.save``; nothing that it holds is run.
    key : str or None
        Where the state dict is; None: it is all of the file, or under one of `CHECKPOINT_KEYS`.
    strip_prefix : str
        Taken off every name.

    Raises
    ------
    StartupError
        The file cannot be read or is anything but tensors in plain containers, it is not clear where the state dict
        is, or safetensors cannot hold a tensor or a name.
    """
    state, found = _find_state_dict(_read_checkpoint(path), key)
    names = _new_names(state, strip_prefix)
    arrays: dict[str, Array] = {}
    specs: list[TensorSpec] = []
    for name, tensor in state.items():
        dtype = _dtype_of(name, tensor)
        plain = tensor.detach().resolve_neg().contiguous()
        # NumPy has no bfloat16: its bits stand for it.
        array = (plain.view(torch.uint16) if dtype == "BF16" else plain).numpy()
        arrays[names[name]] = array
        specs.append(TensorSpec(names[name], dtype, tuple(tensor.shape)))
    return Converted(tuple(specs), arrays, found, tuple(_notes(state, strip_prefix)))


def _read_checkpoint(path: Path) -> object:
    try:
        _require_no_script(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's own future; the sentences below say what matters here
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StartupError(f"{path} cannot be read ({error.strerror}); name a file of torch.save") from None
    except StartupError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes of the unpickler
        raise StartupError(_unreadable(path, error)) from None


def _require_no_script(path: Path) -> None:
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist()):
            raise StartupError(f"{path} is a TorchScript program, which is not run; {_SAVE}")


def _unreadable(path: Path, error: Exception) -> str:
    with suppress(Exception):
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if unsafe:
            names = _some(sorted(unsafe))
            return f"{path} holds pickled objects ({names}), which would run code of the file to load; {_SAVE}"
    with suppress(OSError), path.open("rb") as file:
        if file.read(9)[8:] == b"{":
            return f"{path} is not of torch.save; it looks like a safetensors file, which needs no conversion"
    reason = printable((str(error).strip() or type(error).__name__).splitlines()[0][:100])
    return f"{path} is no file of torch.save, is damaged, or holds pickled objects ({reason}); {_SAVE}"


def _find_state_dict(checkpoint: object, key: str | None) -> tuple[StateDict, str | None]:
    """Return the state dict in a checkpoint, and the key under which it was found; None where it is all of it."""
    if not isinstance(checkpoint, Mapping):
        raise StartupError(f"the file holds a {type(checkpoint).__name__}, not a dict of tensors; {_SAVE}")
    keys = _some([repr(name) for name in checkpoint])
    if key is not None:
        if key not in checkpoint:
            raise StartupError(f"the checkpoint has no --key {key!r}; it has {keys}")
        return _require_state_dict(checkpoint[key], f"what --key {key!r} names"), key
    if _is_state_dict(checkpoint):
        return checkpoint, None
    found = [name for name in CHECKPOINT_KEYS if _is_state_dict(checkpoint.get(name))]
    if len(found) == 1:
        return checkpoint[found[0]], found[0]
    if found:
        raise StartupError(f"the checkpoint has several state dicts ({_some(found)}); name one by --key")
    if any(isinstance(value, torch.Tensor) for value in checkpoint.values()):
        return _require_state_dict(checkpoint, "the state dict"), None
    others = [repr(name) for name, value in checkpoint.items() if _is_state_dict(value)]
    advice = f"--key can name {_some(others)}" if others else _SAVE
    raise StartupError(f"the checkpoint has no state dict where one is looked for; it has {keys}: {advice}")


def _is_state_dict(value: object) -> TypeGuard[StateDict]:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _require_state_dict(value: object, what: str) -> StateDict:
    if _is_state_dict(value):
        return value
    if not isinstance(value, Mapping) or not value:
        raise StartupError(f"{what} is {'empty' if value == {} else type(value).__name__}, not a dict of tensors")
    wrong = next(name for name, tensor in value.items() if not (isinstance(name, str) and _is_tensor(tensor)))
    raise StartupError(
        f"{what} holds {wrong!r}, a {type(value[wrong]).__name__}, among its tensors, and nothing is left out in "
        "silence; save a state dict without it"
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _new_names(state: StateDict, prefix: str) -> dict[str, str]:
    without = [name for name in state if not name.startswith(prefix) or name == prefix]
    if without:
        raise StartupError(
            f"--strip-prefix {prefix!r} is not in front of {_some(without)}; leave it out, or name what all begin with"
        )
    names = {name: name[len(prefix) :] for name in state}
    for name in names.values():
        if name == _METADATA or _SURROGATE.search(name):
            raise StartupError(f"a tensor is named {name!a}, which safetensors does not take; rename it")
    return names


def _dtype_of(name: str, tensor: torch.Tensor) -> str:
    kind = None
    if tensor.is_quantized:
        kind = "quantised"
    elif tensor.layout != torch.strided or tensor.is_nested:
        kind = "sparse or nested"
    elif tensor.is_complex():
        kind = "complex"
    elif tensor.device.type != "cpu":
        kind = "without data"
    elif tensor.dtype not in _DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
    if kind is not None:
        raise StartupError(
            f"tensor {name!r} is {kind}, which a model of a federation cannot be; "
            f"make it a plain tensor of {', '.join(_DTYPES.values())} before saving"
        )
    return _DTYPES[tensor.dtype]


def _notes(state: StateDict, prefix: str) -> Iterator[str]:
    for names in _tied(state):
        yield f"{', '.join(names)} share their values and are written {len(names)} times: training may part them"
    if not prefix and all(name.startswith("module.") for name in state):
        yield "all names begin with 'module.', as DataParallel saves them; --strip-prefix module. takes it off"


def _tied(state: StateDict) -> list[list[str]]:
    """Return names of tensors that are one."""
    same: dict[Any, list[str]] = {}
    for name, tensor in state.items():
        if tensor.numel():
            same.setdefault((tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()), []).append(name)
    return [names for names in same.values() if len(names) > 1]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more
