"""Terraform and its provider are found where they are, and missed in a line where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.aws.terraform import NotHere, find_terraform, mirrors, surroundings


def test_a_machine_without_terraform_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHere, match=r"^Terraform is not installed$"):
        find_terraform(tmp_path)


def test_a_mirror_of_providers_is_found_by_its_shape(tmp_path: Path) -> None:
    (tmp_path / "opt" / "plugins" / "registry.example" / "hashicorp" / "aws").mkdir(parents=True)
    (tmp_path / "opt" / "sources" / "terraform" / "hashicorp" / "aws").mkdir(parents=True)
    assert list(mirrors(tmp_path, levels=3)) == [tmp_path / "opt" / "plugins"]
    assert list(mirrors(tmp_path, levels=2)) == []


def test_nobodys_account_is_reached_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "terraformrc"
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "TF_VAR_region", "TF_WORKSPACE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(settings))
    assert not any(value == "mine" for value in surroundings().values())
    assert "TF_CLI_CONFIG_FILE" not in surroundings()
    settings.touch()
    assert surroundings()["TF_CLI_CONFIG_FILE"] == str(settings)
