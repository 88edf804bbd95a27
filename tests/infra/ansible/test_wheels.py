from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from scripts.build_wheel import build, content_id, requirements, shipped
from tests.infra.programs import CHECKOUT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "checkout"
    for path in shipped(CHECKOUT):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / path, copy / path)
    return copy


def test_a_wheel_has_all_that_is_shipped_and_the_same_bytes_each_time(checkout: Path, tmp_path: Path) -> None:
    files = shipped(checkout)
    # What an earlier build left behind is no part of it.
    (checkout / "build" / "lib" / "fedtier").mkdir(parents=True)
    (checkout / "build" / "lib" / "fedtier" / "stale.py").touch()
    one, two = (build(checkout, files, tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    packed = set(zipfile.ZipFile(one).namelist())
    assert {str(path) for path in files if len(path.parts) > 1} <= packed
    assert not any("stale" in name for name in packed)


def test_the_id_of_a_wheel_follows_its_content_and_nothing_else(checkout: Path) -> None:
    before = content_id(checkout, shipped(checkout))
    (checkout / "runs").mkdir()
    (checkout / "fedtier" / "__pycache__").mkdir()
    (checkout / "fedtier" / "__pycache__" / "wire.pyc").touch()
    (checkout / "fedtier" / "wire.py").touch()
    assert content_id(checkout, shipped(checkout)) == before == content_id(CHECKOUT, shipped(CHECKOUT))
    for name in ("fedtier/wire.py", "constraints.txt"):
        text = (checkout / name).read_text()
        (checkout / name).write_text(f"{text}# changed\n")
        assert content_id(checkout, shipped(checkout)) != before
        (checkout / name).write_text(text)


def test_extras_say_which_packages_a_host_needs() -> None:
    found = requirements(CHECKOUT)
    assert any(name.startswith("cryptography") for name in found[""])
    assert any(name.startswith("gunicorn") for name in found["server"])
    assert any(name.startswith("torch") for name in found["client"])
