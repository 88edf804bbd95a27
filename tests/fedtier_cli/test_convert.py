from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from fedtier.fields import sha256_hex
from fedtier.tensors import TensorFile
from fedtier_cli.conversion import CHECKPOINT_KEYS
from tests.fedtier_cli.federations import call, json_lines

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    torch.bool,
)


def saved(folder: Path, content: object, **options: Any) -> Path:
    path = folder / "model.pt"
    torch.save(content, path, **options)
    return path


def converted(path: Path, *flags: object) -> Mapping[str, torch.Tensor]:
    """Convert, and read the result as another program does."""
    result = call("convert", path, *flags)
    assert result.exit_code == 0, result.output
    return load_file(path.with_suffix(".safetensors"))


def refusal(path: Path, *flags: object) -> str:
    """Return the one sentence with which a file is refused; nothing was written."""
    result = call("convert", path, *flags)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    return result.stderr


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def any_bits(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    tensor = torch.zeros(shape, dtype=dtype)
    raw = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, tensor.nbytes, np.uint8)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw.size else tensor


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(1), 0.1, 0, torch.qint8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 1 << 30)),
        min_size=1,
        max_size=5,
    )
)
def test_every_tensor_keeps_its_bits(tmp_path: Path, drawn: dict[str, tuple[torch.dtype, list[int], int]]) -> None:
    model = {}
    for name, (dtype, shape, seed) in drawn.items():
        model[name] = any_bits(dtype, shape, seed)
    read = converted(saved(tmp_path, model), "--force")
    assert list(TensorFile(tmp_path / "model.safetensors").header.offsets) == list(model)
    for name, tensor in model.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(read[name]) == bits(tensor)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    model = {"transposed": whole.t(), "every other": whole[:, ::2], "one": whole[1, 1], "wide": whole[:1].expand(3, 4)}
    for name, tensor in converted(saved(tmp_path, model)).items():
        assert torch.equal(tensor, model[name])


def test_a_state_dict_of_a_module_with_parameters_is_taken(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    result = call("convert", saved(tmp_path, module.state_dict()), "--json")
    [facts] = json_lines(result)
    content = (tmp_path / "model.safetensors").read_bytes()
    assert facts == {
        "file": str(tmp_path / "model.safetensors"),
        "source": str(tmp_path / "model.pt"),
        "key": None,
        "tensors": 7,
        "parameters": 2 * 9 + 2 + 4 * 2 + 1,
        "bytes": len(content),
        "sha256": sha256_hex(content),
        "opens_a_round": True,
        "notes": [],
    }


def test_the_format_before_zip_is_taken(tmp_path: Path) -> None:
    model = {"w": torch.ones(3)}
    assert torch.equal(converted(saved(tmp_path, model, _use_new_zipfile_serialization=False))["w"], model["w"])


@pytest.mark.parametrize("key", CHECKPOINT_KEYS)
def test_a_checkpoint_with_a_state_dict_is_taken(tmp_path: Path, key: str) -> None:
    checkpoint = {"epoch": 3, key: {"w": torch.ones(3)}, "optimizer": {"state": {0: torch.zeros(2)}}}
    assert list(converted(saved(tmp_path, checkpoint))) == ["w"]


def test_an_ambiguous_checkpoint_is_settled_by_a_key(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": {"a": torch.ones(1)}, "state_dict": {"b": torch.ones(1)}})
    assert "several state dicts (state_dict, model); name one by --key" in refusal(path)
    assert list(converted(path, "--key", "model")) == ["a"]


def test_tied_tensors_are_written_twice_and_named(tmp_path: Path) -> None:
    shared = torch.ones(2, 2)
    result = call("convert", saved(tmp_path, {"in": shared, "out": shared, "alone": torch.ones(2, 2)}))
    assert "note: in, out share their values and are written 2 times" in result.stderr
    read = load_file(tmp_path / "model.safetensors")
    assert torch.equal(read["in"], read["out"])


def test_a_prefix_stays_unless_it_is_to_go(tmp_path: Path) -> None:
    path = saved(tmp_path, {"module.a": torch.ones(1), "module.b": torch.ones(1)})
    result = call("convert", path)
    assert "--strip-prefix module. takes it off" in result.stderr
    assert list(load_file(tmp_path / "model.safetensors")) == ["module.a", "module.b"]
    assert list(converted(path, "--strip-prefix", "module.", "--force")) == ["a", "b"]


def test_a_model_that_cannot_open_a_round_is_converted_and_told_of(tmp_path: Path) -> None:
    path = saved(tmp_path, {"steps": torch.full((2,), 1 << 62)})
    [facts] = json_lines(call("convert", path, "--json"))
    assert facts["opens_a_round"] is False
    assert facts["notes"][0].startswith("it cannot open a round: ")
    assert (tmp_path / "model.safetensors").exists()


_TRUSTING_TORCH = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"


class Malicious:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, form: str) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model.pt"
    content = {"state_dict": {"w": torch.ones(1)}, "extra": Malicious(mark)}
    if form == "pickle":
        # The opcodes of open(mark, "w"): GLOBAL, MARK, two UNICODE, TUPLE, REDUCE, STOP.
        path.write_bytes(f"cbuiltins\nopen\n(V{mark}\nVw\ntR.".encode())
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")

    assert "pickled objects" in refusal(path)  # which has looked that nothing but the source is there

    # The mine is real: whoever trusts the file steps on it, in a process of its own.
    trusting = {"pickle": ["-m", "pickle"]}.get(form, ["-c", _TRUSTING_TORCH])
    subprocess.run([sys.executable, *trusting, str(path)], check=True, capture_output=True)
    assert mark.exists()


def test_a_whole_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    sentence = refusal(saved(tmp_path, nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in sentence
    assert "save model.state_dict() with torch.save" in sentence


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_with_what_to_do(tmp_path: Path) -> None:
    traced: Any = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "model.pt"))
    assert "is a TorchScript program, which is not run; save model.state_dict()" in refusal(tmp_path / "model.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.ones(3), "holds a Tensor, not a dict of tensors"),
        ({}, "has no state dict where one is looked for"),
        ({"epoch": 3, "net": {"w": torch.ones(1)}}, "--key can name 'net'"),
        ({"w": torch.ones(1), "epoch": 3}, "holds 'epoch', a int, among its tensors"),
        ({"w": torch.ones(1), 7: torch.ones(1)}, "holds 7, a Tensor"),
        ({"w": torch.ones(1, dtype=torch.complex64)}, "tensor 'w' is complex"),
        ({"w": torch.eye(2).to_sparse()}, "tensor 'w' is sparse"),
        ({"w": quantised()}, "tensor 'w' is quantised"),
        ({"w": torch.ones(1, dtype=torch.float8_e4m3fn)}, "tensor 'w' is float8_e4m3fn"),
        ({"w": torch.ones(1, device="meta")}, "tensor 'w' is without data"),
        ({"__metadata__": torch.ones(1)}, "which safetensors does not take"),
        ({"\ud800": torch.ones(1)}, "which safetensors does not take"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(tmp_path: Path, content: object, words: str) -> None:
    assert words in refusal(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--key", "other"], "the checkpoint has no --key 'other'; it has 'a.b', 'ab'"),
        (["--key", "ab"], "what --key 'ab' names is Tensor, not a dict of tensors"),
        (["--strip-prefix", "a."], "--strip-prefix 'a.' is not in front of ab"),
    ],
)
def test_flags_that_do_not_fit_the_file_are_one_sentence(tmp_path: Path, flags: list[str], words: str) -> None:
    assert words in refusal(saved(tmp_path, {"a.b": torch.ones(1), "ab": torch.ones(1)}), *flags)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half an archive"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert "is no file of torch.save, is damaged" in refusal(path)


def test_a_truncated_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:2000])
    assert "is damaged" in refusal(path)


def test_a_safetensors_file_needs_no_conversion(tmp_path: Path) -> None:
    converted(saved(tmp_path, {"w": torch.ones(1)}))
    (tmp_path / "model.safetensors").rename(tmp_path / "model.pt")
    assert "looks like a safetensors file, which needs no conversion" in refusal(tmp_path / "model.pt")


def test_nothing_is_overwritten_unless_it_is_asked_for(tmp_path: Path) -> None:
    path, out = saved(tmp_path, {"w": torch.ones(1)}), tmp_path / "out.safetensors"
    out.write_bytes(b"precious")
    refused: Result = call("convert", path, "--out", out)
    assert refused.exit_code == 1
    assert "exists; name another file by --out, or overwrite it by --force" in refused.stderr
    assert out.read_bytes() == b"precious"
    assert call("convert", path, "--out", out, "--force").exit_code == 0
    assert load_file(out)["w"] == 1


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(1)})
    assert "cannot be written" in refusal(path, "--out", tmp_path / "nowhere" / "out.safetensors")


def test_a_source_that_does_not_exist_is_a_wrong_argument(tmp_path: Path) -> None:
    assert call("convert", tmp_path / "nothing.pt").exit_code == 2


def test_where_torch_is_missing_the_sentence_says_what_to_install(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(1)})
    without = "import sys; sys.modules['torch'] = None; from fedtier_cli.convert_command import convert; convert()"
    done = subprocess.run([sys.executable, "-c", without, path], capture_output=True, text=True, check=False)
    sentence = "Error: fedtier convert needs torch, which is not installed; pip install 'fedtier[client]'\n"
    assert (done.returncode, done.stderr) == (1, sentence)
